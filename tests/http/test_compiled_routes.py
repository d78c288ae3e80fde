"""Tests for compiled routes: what they support, their arguments, and their dispatch."""

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Cookie, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import SecurityScopes
from pydantic import BaseModel, with_config
from typing_extensions import TypedDict

from adapters.http.compiled_routes import CompiledRoute
from adapters.http.field_types import Identifier, request_body
from adapters.http.responses import JsonResponse
from adapters.http.routing import ApiRequest, StrictRoute, requires_scope
from domain.api_keys import Scope
from tests.http.support import NOBODY, Api, call, check_problem, findings, serving

REQUIRED = requires_scope(Scope.USERS_READ)


@with_config(request_body(name="a"))
class NamedBody(TypedDict):
    name: str


def plain_function() -> Response:
    return Response()


async def without_annotation():  # type: ignore[no-untyped-def]  # noqa: ANN201
    return Response()


async def with_model() -> NamedBody:
    return {"name": "a"}


async def with_dependency(value: Annotated[str, Depends(plain_function)]) -> Response:
    return Response(value)


async def with_header(value: Annotated[str, Header()]) -> Response:
    return Response(value)


async def with_cookie(value: Annotated[str, Cookie()]) -> Response:
    return Response(value)


async def with_two_bodies(one: NamedBody, two: NamedBody) -> Response:
    return Response(one["name"] + two["name"])


async def with_embedded_body(value: Annotated[NamedBody, Body(embed=True)]) -> Response:
    return Response(value["name"])


async def with_response(response: Response) -> Response:
    return response


async def with_background_tasks(tasks: BackgroundTasks) -> Response:
    return Response(background=tasks)


async def with_security_scopes(scopes: SecurityScopes) -> Response:
    return Response(scopes.scope_str)


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (plain_function, "coroutine function"),
        (without_annotation, "response class"),
        (with_model, "response class"),
        (with_dependency, "Depends"),
        (with_header, "header or cookie"),
        (with_cookie, "header or cookie"),
        (with_two_bodies, "one body"),
        (with_embedded_body, "one body, in JSON"),
        (with_response, "special parameters"),
        (with_background_tasks, "special parameters"),
        (with_security_scopes, "special parameters"),
    ],
)
@pytest.mark.parametrize("route_class", [CompiledRoute, StrictRoute])
def test_unsupported_route_function_raises_at_start(
    route_class: type[CompiledRoute], function: Callable[..., Any], rule: str
) -> None:
    router = APIRouter(route_class=route_class)
    with pytest.raises(ValueError, match=rf"function {function.__name__} of the route /x .*{rule}"):
        router.post("/x", openapi_extra=REQUIRED, response_model=None)(function)


async def with_query(value: str) -> Response:
    return Response(value)


async def with_body(value: NamedBody) -> Response:
    return Response(value["name"])


async def with_list(value: Annotated[list[str] | None, Query()] = None) -> Response:
    return Response(str(value))


class Filters(BaseModel):
    name: str


async def with_model_of_parameters(value: Annotated[Filters, Query()]) -> Response:
    return Response(value.name)


@pytest.mark.parametrize("function", [with_list, with_model_of_parameters])
def test_query_parameter_with_several_values_raises_at_start(function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=f"{function.__name__} .*lists or objects"):
        APIRouter(route_class=StrictRoute).get("/x", openapi_extra=REQUIRED)(function)


@pytest.mark.parametrize("function", [with_query, with_body])
def test_query_and_body_require_a_strict_route(function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=f"{function.__name__} .*StrictRoute"):
        APIRouter(route_class=CompiledRoute).post("/x")(function)
    APIRouter(route_class=StrictRoute).post("/x", openapi_extra=REQUIRED)(function)


async def test_every_route_of_the_application_is_compiled(api: Api) -> None:
    assert [route for route in api.app.routes if not isinstance(route, CompiledRoute)] == []


async def echo(
    request: ApiRequest,
    item_id: Identifier,
    body: Annotated[NamedBody, Body()],
    size: Annotated[int, Query(alias="page-size", ge=1)] = 7,
    needed: Annotated[str | None, Query()] = None,
) -> Response:
    return PlainTextResponse(f"{request.method} {item_id} {body['name']} {size} {needed}")


async def test_arguments_are_validated_values_and_defaults() -> None:
    async with serving() as api:
        api.app.router.routes.extend(_strict(echo, "/echo/{item_id}").routes)
        first = await api.client.post(f"/echo/{NOBODY}", json={"name": "a"})
        second = await api.client.post(f"/echo/{NOBODY}?page-size=3&needed=", json={"name": "b"})
    assert first.text == f"POST {NOBODY} a 7 None"
    assert second.text == f"POST {NOBODY} b 3 "


async def test_errors_of_path_query_and_body_are_reported_together() -> None:
    async with serving() as api:
        api.app.router.routes.extend(_strict(echo, "/echo/{item_id}").routes)
        response = await api.client.post("/echo/x?page-size=0", json={"nam": 1})
    expected = [("item_id", "invalid_format"), ("page-size", "invalid_format"), ("/name", "required")]
    assert findings(response) == [*expected, ("/nam", "unknown")]


async def missing(needed: str) -> Response:
    return Response(needed)


async def test_missing_query_parameter_returns_422() -> None:
    async with serving() as api:
        api.app.router.routes.extend(_strict(missing, "/missing").routes)
        assert findings(await api.client.post("/missing")) == [("needed", "required")]


def _strict(function: Callable[..., Any], path: str) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)
    router.post(path, openapi_extra=REQUIRED)(function)
    return router


async def show(request: Request) -> Response:
    return PlainTextResponse(f"{request.scope['route'].path} {sorted(request.path_params.items())}")


SHOWN = ("/shown/{name}", "/shown/a", "/shown/{first:int}/{second}", "/shown/{rest:path}")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/shown/a", "/shown/a []"),
        ("/shown/b", "/shown/{name} [('name', 'b')]"),
        ("/shown/1/2", "/shown/{first:int}/{second} [('first', 1), ('second', '2')]"),
        ("/shown/x/y/z", "/shown/{rest:path} [('rest', 'x/y/z')]"),
    ],
)
@pytest.mark.parametrize("root_path", ["", "/prefix"])
async def test_path_selects_the_route_and_its_parameters(path: str, shown: str, root_path: str) -> None:
    async with serving() as api:
        api.app.router.routes.extend(CompiledRoute(template, show) for template in SHOWN)
        for method in ("GET", "HEAD"):
            response = await call(api.app, method, root_path + path, root_path=root_path)
            assert response.status_code == 200
            assert response.text == (shown if method == "GET" else "")
        response = await call(api.app, "DELETE", root_path + path, root_path=root_path)
        check_problem(response, 405, "method-not-allowed", root_path)


class OwnError(Exception):
    """An error of a service that is built on Hexapost."""


class OwnSubclassError(OwnError):
    """The handler of its base class applies."""


async def fail() -> Response:
    raise OwnSubclassError


def handle_without_await(_: Request, error: Exception) -> Response:
    return PlainTextResponse(type(error).__name__, 418)


async def test_exception_handler_of_the_closest_class_is_used() -> None:
    async with serving() as api:
        api.app.router.routes.append(CompiledRoute("/fail", fail))
        api.app.add_exception_handler(OwnError, handle_without_await)
        api.app.add_exception_handler(Exception, fail)  # type: ignore[arg-type]
        response = await api.client.get("/fail")
    assert (response.status_code, response.text) == (418, "OwnSubclassError")


async def test_exception_handler_of_a_status_has_precedence() -> None:
    async with serving() as api:
        api.app.add_exception_handler(404, handle_without_await)
        responses = [await api.client.get(path) for path in ("/problems/nothing", "/nowhere")]
    assert [(one.status_code, one.text) for one in responses] == [(418, "ProblemError"), (418, "HTTPException")]


async def test_error_without_a_handler_returns_500() -> None:
    async with serving() as api:
        api.app.router.routes.append(CompiledRoute("/fail", fail))
        check_problem(await api.client.get("/fail"), 500, "internal-error")


class NumbersResponse(TypedDict):
    numbers: frozenset[int]
    at: datetime


async def show_numbers() -> Response:
    return JsonResponse(200, {"numbers": [3, 1, 2], "at": datetime(2030, 1, 1, tzinfo=UTC)}, (b"x-own", b"1"))


@pytest.mark.parametrize("model", [NumbersResponse, None])
async def test_json_response_is_encoded_with_the_response_model(model: type[Any] | None) -> None:
    async with serving() as api:
        api.app.router.routes.append(CompiledRoute("/numbers", show_numbers, response_model=model))
        with warnings.catch_warnings(action="error"):
            response = await api.client.get("/numbers")
    assert response.text == '{"numbers":[3,1,2],"at":"2030-01-01T00:00:00Z"}'
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-own"] == "1"
