"""Tests for cross-origin requests of browsers."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi.routing import APIRoute

from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.cors import METHODS, PREFLIGHT_CACHE_SECONDS, REQUEST_HEADERS, RESPONSE_HEADERS
from adapters.http.openapi.components import HEADERS, PARAMETERS
from adapters.observability.metrics import Metrics
from tests.http.raw_connection import listening
from tests.http.support import ADA, NOBODY, Api, call, check_problem, serving
from tests.observability.prometheus_samples import Scrape

ORIGIN, OTHER = "https://app.example.org", "https://elsewhere.example"
USERS = "/api/v1/users"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
SAFELISTED = {"Cache-Control", "Content-Type", "Content-Length"}


@pytest.fixture(scope="module")
async def cors_api() -> AsyncIterator[Api]:
    async with serving(cors_origins={ORIGIN, "http://localhost:3000"}) as made:
        yield made


@pytest.fixture(scope="module")
async def public_api() -> AsyncIterator[Api]:
    async with serving(cors_origins={"*"}) as made:
        yield made


def cors_headers(response: httpx.Response) -> dict[str, str]:
    """Return the CORS headers without their prefix, and Vary."""
    names = [name for name in response.headers if name.startswith("access-control-") or name == "vary"]
    return {name.removeprefix("access-control-"): response.headers[name] for name in names}


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
@pytest.mark.parametrize("path", [USERS, f"{USERS}/{NOBODY}/", "/nowhere", "/livez"])
async def test_preflight_returns_204_with_methods_and_headers(cors_api: Api, origin: str, path: str) -> None:
    headers = {**PREFLIGHT, "Origin": origin, "Access-Control-Request-Headers": "authorization,content-type"}
    response = await cors_api.client.options(path, headers=headers)
    assert (response.status_code, response.content) == (204, b"")
    assert cors_headers(response) == {
        "allow-origin": origin,
        "allow-methods": "GET, HEAD, POST, PATCH, DELETE",
        "allow-headers": ", ".join(REQUEST_HEADERS),
        "max-age": str(PREFLIGHT_CACHE_SECONDS),
        "expose-headers": ", ".join(RESPONSE_HEADERS),
        "vary": "origin",
    }
    assert "content-length" not in response.headers
    event = cors_api.log[-1]
    assert (event["route"], event["method"], event["status"]) == ("preflight", "OPTIONS", 204)


async def test_preflight_has_its_own_route_label() -> None:
    metrics = Metrics(version="1", rejections=frozenset())
    async with serving(cors_origins={ORIGIN}, metrics=metrics) as api:
        await api.client.options(USERS, headers=PREFLIGHT)
    scrape = Scrape(metrics.render().decode())
    assert scrape.total("hexapost_http_requests_total", route="preflight", method="OPTIONS", status="204") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {**PREFLIGHT, "Origin": OTHER},
        {**PREFLIGHT, "Origin": "null"},
        {**PREFLIGHT, "Origin": f"{ORIGIN}:443"},
        {**PREFLIGHT, "Origin": ORIGIN.upper()},
        {**PREFLIGHT, "Origin": f"{ORIGIN}.evil.example"},
        {**PREFLIGHT, "Origin": "*"},
        {**PREFLIGHT, "Origin": ""},
        {"Access-Control-Request-Method": "POST"},
    ],
)
async def test_other_origins_get_no_cors_headers(cors_api: Api, headers: dict[str, str]) -> None:
    response = await cors_api.client.options(USERS, headers=headers)
    check_problem(response, 405, "method-not-allowed")
    assert cors_headers(response) == {"vary": "origin"}
    response = await cors_api.client.get(USERS, headers=headers)
    assert response.status_code == 200
    assert cors_headers(response) == {"vary": "origin"}


async def test_options_without_requested_method_is_no_preflight(cors_api: Api) -> None:
    response = await cors_api.client.options(USERS, headers={"Origin": ORIGIN})
    check_problem(response, 405, "method-not-allowed")
    assert response.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", USERS, {}, 200),
        ("HEAD", USERS, {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", USERS, {"Authorization": "Bearer wrong"}, 401),
        ("GET", "/nowhere", {}, 404),
        ("PUT", USERS, {}, 405),
        ("POST", USERS, {"Content-Length": "99999999"}, 413),
        ("POST", USERS, {"Content-Type": "text/plain"}, 415),
        ("GET", f"{USERS}?x=1", {}, 422),
    ],
)
async def test_every_response_has_cors_headers(
    cors_api: Api, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = await cors_api.client.request(method, path, headers={"Origin": ORIGIN, **headers})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-expose-headers"] == ", ".join(RESPONSE_HEADERS)
    assert "origin" in response.headers.get_list("vary", split_commas=True)
    assert "access-control-allow-credentials" not in response.headers


async def test_every_origin_is_allowed_by_asterisk(public_api: Api) -> None:
    expected = {"allow-origin": "*", "expose-headers": ", ".join(RESPONSE_HEADERS)}
    for headers in ({"Origin": OTHER}, {"Origin": "null"}, {"Origin": "*"}, {}):
        assert cors_headers(await public_api.client.get(USERS, headers=headers)) == expected
    response = await public_api.client.options(USERS, headers={**PREFLIGHT, "Origin": OTHER})
    assert response.status_code == 204
    assert cors_headers(response).items() >= expected.items()


async def test_rejections_under_load_are_readable_by_browsers() -> None:
    origin = [(b"origin", ORIGIN.encode())]
    async with serving(cors_origins={ORIGIN}, admission=AdmissionController(0)) as api:
        response = await call(api.app, "GET", USERS, headers=origin)
        check_problem(response, 503, "overloaded")
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert (await api.client.options(USERS, headers=PREFLIGHT)).status_code == 204
    async with serving(cors_origins={ORIGIN}, rate_limit="1/hour") as api:
        for expected in (201, 204, 429):
            method = "OPTIONS" if expected == 204 else "POST"
            response = await api.client.request(method, USERS, json=ADA, headers=PREFLIGHT)
            assert response.status_code == expected
            assert response.headers["access-control-allow-origin"] == ORIGIN


async def test_rejections_of_the_protocol_are_readable_by_browsers() -> None:
    start = f"GET {USERS} HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\n".encode()
    async with listening(cors_origins={ORIGIN}) as wire:
        for rest, status in (
            (b"X: " + b"x" * 3000, b"431"),
            (b"Transfer-Encoding: gzip", b"400"),
            (b"X: x\r\n\0: x", b"400"),
        ):
            response = await wire.send_and_read(start + rest + b"\r\n\r\n")
            assert response.startswith(b"HTTP/1.1 " + status)
            assert f"\r\naccess-control-allow-origin: {ORIGIN}\r\n".encode() in response


async def test_cors_lists_contain_all_methods_and_headers_of_the_api(api: Api) -> None:
    methods = {method for route in api.app.routes if isinstance(route, APIRoute) for method in route.methods or ()}
    assert methods | {"HEAD"} == set(METHODS)
    assert set(PARAMETERS) <= set(REQUEST_HEADERS)
    assert {name.removesuffix("-In-Flight") for name in HEADERS} - SAFELISTED == set(RESPONSE_HEADERS)
