"""The route class of the API: authentication, rate limit, and strict parsing of queries and bodies."""

import re
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute

from adapters.http.authentication import authenticate
from adapters.http.bodies import check_media_type, read_json
from adapters.http.context import rate_limits
from adapters.http.middleware.request_context import request_context
from adapters.http.problem_responses import ProblemError
from adapters.http.problems import VALIDATION_FAILED
from adapters.http.scopes import required_scope
from adapters.http.validation import FieldError, is_sane

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_JUNK = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^\x21-\x7e]")


class StrictRoute(APIRoute):
    """A route that authenticates the request, and rejects unknown parameters and ambiguous input.

    Each route declares its required scope with `scopes.secured`. The use case checks the scope.
    """

    in_outage = False
    """True if the route accepts stale authentication results (`Authenticator.authenticate`)."""

    def get_route_handler(self) -> Handler:
        """Return the handler of FastAPI, preceded by the checks."""
        handle = super().get_route_handler()
        known = frozenset(param.alias for param in self.dependant.query_params)
        reads_body = self.body_field is not None
        required_scope(self.openapi_extra)  # a route without a scope must not start
        in_outage = self.in_outage

        async def strict(request: Request) -> Response:
            caller = await authenticate(request, in_outage=in_outage)
            await rate_limits(request).count(request_context(request), str(caller.api_key_id))
            query = request.scope["query_string"]
            if query:
                _check_query(query, known)
            if reads_body:
                check_media_type(request.scope)
                request = JsonRequest(request.scope, request.receive)
                request.value = read_json(await request.body(), deepest=request.app.state.max_json_depth)
            return await handle(request)

        return strict


def operation_id(route: APIRoute) -> str:
    """Return the operation ID of a route: the name of its function."""
    return route.name


class JsonRequest(Request):
    """A request whose body was parsed before."""

    value: Any = None

    async def json(self) -> Any:
        """Return the parsed body."""
        return self.value


def _check_query(query: bytes, known: frozenset[str]) -> None:
    """Raise ProblemError for a malformed query string, and for unknown or duplicate parameters."""
    try:
        if _JUNK.search(query):
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
        return {"parameter": name, **error} if is_sane(name) else error
    if count > 1:
        return {"parameter": name, "code": "repeated", "detail": "Must occur only once."}
    return None
