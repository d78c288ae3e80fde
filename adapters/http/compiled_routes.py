"""Routes that are compiled at start, and their dispatcher: the frames of FastAPI cost more CPU than all own code.

Both replace work of FastAPI and Starlette. A compiled route uses neither the dependency solver nor a response model.
The dispatcher bypasses `ServerErrorMiddleware` and FastAPI's middleware for telemetry and for body sizes, because
`RequestMiddleware` does their work. For compiled routes it also bypasses `ExceptionMiddleware`, the routers, and three
`AsyncExitStack`s for files and for dependencies, which such routes do not have.
"""

import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.params import Body
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaValidator, core_schema
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from adapters.http.responses import JsonResponse


class CompiledRoute(APIRoute):
    """A route whose validators and serializer are built at start.

    Its function is a coroutine function that returns a response. Its parameters are the request and path parameters.
    Those of a strict route are also query parameters and one JSON body. Raises ValueError for a route with anything
    else, such as `Depends`.
    """

    is_strict = False

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Build the validators, and return `respond` in the form that FastAPI calls."""
        _require_supported(self)
        params = [*self.dependant.path_params, *self.dependant.query_params]
        self._query_names = frozenset(param.alias for param in self.dependant.query_params)
        self._defaults = {param.name: param.default for param in params if not param.field_info.is_required()}
        self._validate_params = _params_validator(params).validate_python if params else None
        self._body_name = ""
        self._validate_body: Callable[[object], object] | None = None
        for body in self.dependant.body_params:
            self._body_name, self._validate_body = body.name, _adapter(body.field_info).validator.validate_python

        serializer = TypeAdapter(self.response_model or Any).serializer
        # A value of another type is serialized by its own type, as a list in place of a set.
        self._to_json = partial(serializer.to_json, warnings=False)

        async def handle(request: Request) -> Response:
            return await self.respond(request.scope, request.receive)

        return handle

    async def respond(self, scope: Scope, receive: Receive) -> Response:
        """Execute the route. The scope contains its path parameters."""
        request = None if self.dependant.request_param_name is None else Request(scope, receive)
        return await self.call(request, scope["path_params"])

    async def call(self, request: Request | None, params: Mapping[str, str], body: object = None) -> Response:
        """Call the function with validated arguments. Raises RequestValidationError with the errors of all of them."""
        arguments = self._defaults.copy()
        errors: list[Any] = []
        if self._validate_params is not None:
            try:
                arguments.update(self._validate_params(params))
            except ValidationError as error:
                errors += _errors(error, "parameter")
        if self._validate_body is not None:
            try:
                arguments[self._body_name] = self._validate_body(body)
            except ValidationError as error:
                errors += _errors(error, "body")
        if errors:
            raise RequestValidationError(errors)
        if self.dependant.request_param_name is not None:
            arguments[self.dependant.request_param_name] = request
        response: Response = await self.endpoint(**arguments)
        if isinstance(response, JsonResponse):
            response.encode(self._to_json)
        return response


def _require_supported(route: CompiledRoute) -> None:
    """Raise ValueError if the route requires a part of FastAPI that CompiledRoute does not have."""
    given = route.dependant
    bodies = [param.field_info for param in given.body_params]
    returned = inspect.signature(route.endpoint, eval_str=True).return_annotation
    special = (
        given.websocket_param_name,
        given.http_connection_param_name,
        given.response_param_name,
        given.background_tasks_param_name,
        given.security_scopes_param_name,
    )
    rules = {
        "must be a coroutine function": inspect.iscoroutinefunction(route.endpoint),
        "must be annotated with a response class": inspect.isclass(returned) and issubclass(returned, Response),
        "must not use Depends": not given.dependencies,
        "must not have header or cookie parameters": not (given.header_params or given.cookie_params),
        "must have at most one body, in JSON": len(bodies) <= 1
        and all(type(body) is Body and not body.embed for body in bodies),
        "must not have a query or a body, except in a StrictRoute": route.is_strict
        or not (given.query_params or bodies),
        "must not have parameters that are lists or objects": all(
            _is_scalar(param.field_info) for param in given.query_params
        ),
        "must not have special parameters, except the request": not any(special),
    }
    for rule, is_met in rules.items():
        if not is_met:
            raise ValueError(f"the function {route.name} of the route {route.path} {rule}")


def _adapter(info: FieldInfo) -> TypeAdapter[Any]:
    annotation: Any = Annotated[info.annotation, info]
    return TypeAdapter(annotation)


def _is_scalar(info: FieldInfo) -> bool:
    schema = _adapter(info).json_schema()
    return not {"array", "object"} & {one.get("type") for one in (schema, *schema.get("anyOf", ()))}


def _params_validator(params: Iterable[Any]) -> SchemaValidator:
    """Return one validator of all parameters, which is faster than one per parameter."""
    fields = {
        param.name: core_schema.typed_dict_field(
            _adapter(param.field_info).core_schema,
            required=param.field_info.is_required(),
            validation_alias=param.alias,
        )
        for param in params
    }
    return SchemaValidator(core_schema.typed_dict_schema(fields))


def _errors(error: ValidationError, place: str) -> list[Any]:
    """Return the errors in the form of FastAPI: `loc` starts with the place of the value."""
    return [{**finding, "loc": (place, *finding["loc"])} for finding in error.errors(include_url=False)]


class Dispatcher:
    """Executes the compiled routes of an application.

    Paths without a parameter have precedence, as in OpenAPI. All other requests, such as those with status 404 or 405,
    pass to the router of FastAPI.
    """

    def __init__(self, app: FastAPI) -> None:
        self._handlers: Any = app.exception_handlers
        self._router = ExceptionMiddleware(AsyncExitStackMiddleware(app.router), handlers=self._handlers)
        self._static: dict[tuple[str, str], CompiledRoute] = {}
        self._templates: dict[re.Pattern[str], dict[str, CompiledRoute]] = {}
        for route in app.routes:
            if isinstance(route, CompiledRoute):
                for method in route.methods or ():
                    if route.param_convertors:
                        self._templates.setdefault(route.path_regex, {}).setdefault(method, route)
                    else:
                        self._static.setdefault((method, route.path), route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Execute the compiled route of a request. Pass all others to the router of FastAPI."""
        route = self._find_route(scope) if scope["type"] == "http" else None
        if route is None:
            await self._router(scope, receive, send)
            return
        scope["route"] = route
        try:
            response = await route.respond(scope, receive)
        except Exception as error:  # noqa: BLE001 - raised again without a handler
            response = await self._error_response(Request(scope, receive), error)
        await response(scope, receive, send)

    def _find_route(self, scope: Scope) -> CompiledRoute | None:
        """Return the route of a request, and add its path parameters to the scope."""
        method = scope["method"]
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self._static.get((method, path))
        if route is not None:
            scope["path_params"] = {}
            return route
        for regex, routes in self._templates.items():
            if (found := regex.match(path)) and (route := routes.get(method)):
                convertors = route.param_convertors
                scope["path_params"] = {
                    name: convertors[name].convert(value) for name, value in found.groupdict().items()
                }
                return route
        return None

    async def _error_response(self, request: Request, error: Exception) -> Response:
        """Return the response of the exception handler with the closest class. Without one, raise the error again."""
        status = [error.status_code] if isinstance(error, HTTPException) else []
        for key in (*status, *type(error).__mro__):
            if key in self._handlers:
                result = self._handlers[key](request, error)
                response: Response = await result if inspect.isawaitable(result) else result
                return response
        raise error
