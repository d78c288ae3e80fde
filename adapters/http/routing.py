"""The route class of the API: authentication, rate limit, and strict parsing of queries and bodies."""

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette import types
from typing_extensions import override

from adapters.http.compiled_routes import CompiledRoute
from adapters.http.dependencies import AppState
from adapters.http.json_body import parse_json, read_body, validate_media_type
from adapters.http.middleware.request_context import RequestContext
from adapters.http.middleware.request_limits import Header
from adapters.http.problems.catalog import VALIDATION_FAILED
from adapters.http.problems.responses import SAFE_NAME, FieldError, ProblemError
from application.api_key_tokens import API_KEY_PREFIX
from application.authorization import Principal, UnauthenticatedError
from domain.api_keys import Scope

REQUIRED_SCOPE = "x-required-scope"
"""The OpenAPI member with the scope of an operation. Linters allow scopes in `security` for OAuth only."""

SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "hexa_<id>_<secret>",
        "description": "The API key (RFC 6750).",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The API key."},
}
"""The two ways to send an API key."""

_KEY_PREFIX = API_KEY_PREFIX.encode("ascii")
_BEARER = re.compile(rb"(?i:bearer) +(%b[\x21-\x7e]*)" % _KEY_PREFIX)
_REJECTED_QUERY_CHARS = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^\x21-\x7e]")


class ApiRequest(Request):
    """An authenticated request. Routes declare it as a parameter."""

    application: AppState
    principal: Principal
    content: bytes = b""
    """The body. It was parsed strictly if the route has a body parameter."""


class StrictRoute(CompiledRoute):
    """A route that authenticates the request, and rejects unknown parameters and ambiguous input.

    Each route declares its required scope with `requires_scope`. The use case checks the scope.
    """

    is_strict = True

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        scope = (self.openapi_extra or {}).get(REQUIRED_SCOPE)
        if scope not in set(Scope):
            raise ValueError("a route must declare its scope: openapi_extra=requires_scope(Scope.…)")
        self._is_write = "GET" not in (self.methods or ())
        self._allow_stale = scope == Scope.METRICS_READ  # metrics matter most during an outage
        return super().get_route_handler()

    @override
    async def respond(self, scope: types.Scope, receive: types.Receive) -> Response:
        context: RequestContext = scope["state"]["request_context"]
        application: AppState = scope["app"].state.hexapost
        request = ApiRequest(scope, receive)
        request.application = application
        api_key, authenticator = _extract_api_key(scope["headers"]), application.use_cases.authenticator
        principal = authenticator.find_cached(api_key)
        if principal is None:
            principal = await authenticator.authenticate(api_key, allow_stale=self._allow_stale)
        if self._is_write:
            principal = principal.for_request(context.request_id)  # audit entries have the request ID
        request.principal = context.principal = principal
        if application.rate_limiter is not None:
            headers = application.rate_limiter.count(principal.api_key_id)
            context.rate_limit_headers = headers if isinstance(headers, tuple) else await headers
        params: Mapping[str, str] = scope["path_params"]
        query = scope["query_string"]
        if query:
            params = {**params, **_parse_query(query, self._query_names)}
        body = None
        if self.dependant.body_params:
            validate_media_type(scope)
            request.content = await read_body(receive)
            body = parse_json(request.content, max_depth=application.options.limits.max_json_depth)
        return await self.call(request, params, body)


def requires_scope(scope: Scope) -> dict[str, Any]:
    """Return the OpenAPI members of an operation that requires a scope."""
    return {REQUIRED_SCOPE: str(scope), "security": [{name: []} for name in SCHEMES]}


def _extract_api_key(headers: Iterable[Header]) -> str:
    """Return the API key, in `Authorization: Bearer` (RFC 6750) or in `X-API-Key`.

    Other values are ignored: a proxy may send its own token in either header.
    Raises UnauthenticatedError unless the headers contain exactly one key.
    """
    found = set()
    for name, value in headers:
        if name == b"authorization":
            if bearer := _BEARER.fullmatch(value):
                found.add(bearer[1])
        elif name == b"x-api-key" and value.startswith(_KEY_PREFIX):
            found.add(value)
    if len(found) != 1:
        raise UnauthenticatedError
    return str(found.pop(), "latin-1")


def operation_id(route: APIRoute) -> str:
    """Return the operation ID of a route: the name of its function."""
    return route.name


def _parse_query(query: bytes, known: frozenset[str]) -> dict[str, str]:
    """Return the parameters of a query string.

    Raises ProblemError for a malformed query string, and for unknown or duplicate parameters.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        pairs = None
    if pairs is None or _REJECTED_QUERY_CHARS.search(query):
        raise ProblemError(VALIDATION_FAILED, detail="The query string is not valid percent-encoded UTF-8.")
    params = dict(pairs)
    if len(params) == len(pairs) and params.keys() <= known:
        return params
    errors: list[FieldError] = []
    for name, count in Counter(name for name, _ in pairs).items():
        if name in known and count > 1:
            errors.append({"parameter": name, "code": "duplicate", "detail": "Must occur only once."})
        elif name not in known:
            error: FieldError = {"code": "unknown", "detail": "Unknown query parameter."}
            errors.append({"parameter": name, **error} if SAFE_NAME.fullmatch(name) else error)
    raise ProblemError(VALIDATION_FAILED, errors=errors)
