"""The route class of the API: authentication, rate limit, and strict parsing of queries and bodies."""

import re
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute
from typing_extensions import override

from adapters.http.dependencies import AppState
from adapters.http.json_body import parse_json, validate_media_type
from adapters.http.middleware.request_context import RequestContext
from adapters.http.problems.catalog import VALIDATION_FAILED
from adapters.http.problems.responses import ProblemError
from adapters.http.problems.validation import FieldError, is_safe_to_echo
from adapters.http.security.authentication import extract_api_key
from adapters.http.security.scopes import required_scope
from application.authorization import Principal

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_REJECTED_QUERY_CHARS = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^\x21-\x7e]")


class ApiRequest(Request):
    """An authenticated request. Its JSON body was parsed strictly. Routes declare it as a parameter."""

    application: AppState
    principal: Principal
    value: Any = None

    @override
    async def json(self) -> Any:
        return self.value


class StrictRoute(APIRoute):
    """A route that authenticates the request, and rejects unknown parameters and ambiguous input.

    Each route declares its required scope with `requires_scope`. The use case checks the scope.
    """

    allow_stale_auth = False
    """True if the route accepts stale authentication results (`Authenticator.authenticate`)."""

    @override
    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        known = frozenset(param.alias for param in self.dependant.query_params)
        reads_body = self.body_field is not None
        required_scope(self.openapi_extra)  # a route without a scope must not start
        allow_stale = self.allow_stale_auth

        async def handle_strictly(received: Request) -> Response:
            request = ApiRequest(received.scope, received.receive)
            context = RequestContext.of(request.scope["state"])
            application = request.application = received.app.state.hexapost
            request.principal = context.principal = await application.use_cases.authenticator.authenticate(
                extract_api_key(request.scope), allow_stale=allow_stale
            )
            context.rate_limit_headers = await application.rate_limiter.count(str(request.principal.api_key_id))
            query = request.scope["query_string"]
            if query:
                _check_query(query, known)
            if reads_body:
                validate_media_type(request.scope)
                max_depth = application.options.limits.max_json_depth
                request.value = parse_json(await request.body(), max_depth=max_depth)
            return await handle(request)

        return handle_strictly


def operation_id(route: APIRoute) -> str:
    """Return the operation ID of a route: the name of its function."""
    return route.name


def _check_query(query: bytes, known: frozenset[str]) -> None:
    """Raise ProblemError for a malformed query string, and for unknown or duplicate parameters."""
    try:
        if _REJECTED_QUERY_CHARS.search(query):
            raise ProblemError(VALIDATION_FAILED, detail=_MALFORMED)
        counted = Counter(name for name, _ in parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise ProblemError(VALIDATION_FAILED, detail=_MALFORMED) from None
    errors = [found for name, count in counted.items() if (found := _query_error(name, count, known))]
    if errors:
        raise ProblemError(VALIDATION_FAILED, errors=errors)


_MALFORMED = "The query string is not valid percent-encoded UTF-8."


def _query_error(name: str, count: int, known: frozenset[str]) -> FieldError | None:
    if name not in known:
        error: FieldError = {"code": "unknown", "detail": "Unknown query parameter."}
        return {"parameter": name, **error} if is_safe_to_echo(name) else error
    if count > 1:
        return {"parameter": name, "code": "duplicate", "detail": "Must occur only once."}
    return None
