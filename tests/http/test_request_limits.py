"""Tests for the maximum body size, and for clients that disconnect."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message

from adapters.http.middleware.request_limits import RequestLimits
from tests.http.support import CHUNKED, JSON_TYPE, NOBODY, Api, call, check_problem, serving

SMALL = RequestLimits(max_body_bytes=100)
USERS = "/api/v1/users"


@pytest.fixture(scope="module")
async def small() -> AsyncIterator[Api]:
    """An application that accepts bodies of 100 bytes."""
    async with serving(limits=SMALL) as made:
        yield made


def check_too_large(response: httpx.Response) -> None:
    check_problem(response, 413, "body-too-large")
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("length", [b"101", b"65537", b"9" * 30, b"9" * 5000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", USERS),
        ("PATCH", f"/api/v1/posts/{NOBODY}/"),
        ("DELETE", f"{USERS}/{NOBODY}"),
        ("GET", f"{USERS}/{NOBODY}"),
        ("GET", "/livez"),
        ("PUT", "/nowhere"),
    ],
)
async def test_declared_length_beyond_limit_returns_413(small: Api, method: str, path: str, length: bytes) -> None:
    response = await call(small.app, method, path, headers=[JSON_TYPE, (b"content-length", length)], received=[])
    check_too_large(response)
    assert small.log[-1]["status"] == 413


async def test_body_of_maximum_size_is_accepted(small: Api) -> None:
    body = b'{"email": "ada@example.org"}'.ljust(100)
    headers = {"content-type": "application/json"}
    assert (await small.client.post(USERS, content=body, headers=headers)).status_code == 201
    assert (await small.client.post(USERS, content=body + b" ", headers=headers)).status_code == 413


@pytest.mark.parametrize("headers", [[JSON_TYPE, CHUNKED], [JSON_TYPE]])
async def test_undeclared_length_beyond_limit_returns_413(small: Api, headers: list[tuple[bytes, bytes]]) -> None:
    pieces = [{"type": "http.request", "body": b" " * 60, "more_body": True}] * 2
    response = await call(small.app, "POST", USERS, headers=headers, received=pieces)
    check_problem(response, 413, "body-too-large")
    assert ("connection" in response.headers) is (CHUNKED in headers)


async def test_unread_chunked_body_closes_the_connection(api: Api) -> None:
    for method, path in [("GET", "/livez"), ("POST", "/nowhere"), ("DELETE", f"{USERS}/{NOBODY}")]:
        response = await call(api.app, method, path, headers=[CHUNKED], received=[])
        assert response.headers["connection"] == "close"
    assert "connection" not in (await call(api.app, "GET", "/livez", received=[])).headers


async def test_disconnect_during_upload_is_logged_as_499(api: Api) -> None:
    pieces: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    response = await call(api.app, "POST", USERS, headers=[JSON_TYPE, CHUNKED], received=pieces)
    assert response.extensions["messages"] == []
    assert [(event["status"], event["route"]) for event in api.log] == [(499, USERS)]
