"""Bodies that are too large, and clients that leave."""

import json

import pytest
from starlette.types import Message

from adapters.http.limits import RequestLimits
from tests.http.support import NOBODY, RawResponse, call, serving

TYPE = (b"content-type", b"application/json")
SMALL = RequestLimits(max_body_bytes=100)
CHUNKED = (b"transfer-encoding", b"chunked")


def check_too_large(response: RawResponse) -> None:
    assert response.status == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["connection"] == "close"
    assert response.headers["cache-control"] == "no-store"
    problem = json.loads(response.body)
    assert problem["type"] == "/problems/body-too-large"
    assert problem["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("length", [b"101", b"65537", b"9" * 30, b"9" * 5000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/users"),
        ("PATCH", f"/api/v1/posts/{NOBODY}/"),
        ("DELETE", f"/api/v1/users/{NOBODY}"),
        ("GET", f"/api/v1/users/{NOBODY}"),
        ("GET", "/livez"),
        ("PUT", "/nowhere"),
    ],
)
async def test_declared_length(method: str, path: str, length: bytes) -> None:
    async with serving(limits=SMALL) as api:
        response = await call(api.app, method, path, headers=[TYPE, (b"content-length", length)], received=[])
        check_too_large(response)
        assert api.log[-1]["status"] == 413


async def test_largest_body_is_accepted() -> None:
    body = b'{"email": "ada@example.org"}'.ljust(100)
    async with serving(limits=SMALL) as api:
        headers = {"content-type": "application/json"}
        assert (await api.client.post("/api/v1/users", content=body, headers=headers)).status_code == 201
        response = await api.client.post("/api/v1/users", content=body + b" ", headers=headers)
        assert response.status_code == 413


@pytest.mark.parametrize("headers", [[TYPE, CHUNKED], [TYPE]])
async def test_length_that_was_not_declared(headers: list[tuple[bytes, bytes]]) -> None:
    pieces = [{"type": "http.request", "body": b" " * 60, "more_body": True}] * 2
    async with serving(limits=SMALL) as api:
        response = await call(api.app, "POST", "/api/v1/users", headers=headers, received=pieces)
        assert response.status == 413
        assert b"/problems/body-too-large" in response.body
        if CHUNKED in headers:
            check_too_large(response)


async def test_connection_ends_where_a_body_of_unknown_length_was_not_read() -> None:
    async with serving() as api:
        for method, path in [("GET", "/livez"), ("POST", "/nowhere"), ("DELETE", f"/api/v1/users/{NOBODY}")]:
            response = await call(api.app, method, path, headers=[CHUNKED], received=[])
            assert response.headers["connection"] == "close"
        response = await call(api.app, "GET", "/livez", received=[])
        assert "connection" not in response.headers


async def test_client_that_leaves_while_it_sends() -> None:
    pieces: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    async with serving() as api:
        response = await call(api.app, "POST", "/api/v1/users", headers=[TYPE, CHUNKED], received=pieces)
        assert response.messages == []
        assert [(event["status"], event["route"]) for event in api.log] == [(499, "/api/v1/users")]
