"""Tests for problem responses that must not contain input. `tests/hostile` covers documented parameters."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.http.support import ADA, JSON_TYPE, NOBODY, Api, call

CANARY = "canary<script>7f3a"
POST = {"author_id": NOBODY, "title": "t", "content": "c"}


def invalid_bodies(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield invalid bodies with the text in each field."""
    for name in ("email", "full_name", "is_active", text):
        yield "users", {**ADA, "nonsense": 1, name: text}
    for name in ("author_id", "title", "content", "status", text):
        yield "posts", {**POST, "nonsense": 1, name: text}


async def rejected(api: Api, text: str) -> list[httpx.Response]:
    """Send the text in each part of a request."""
    quoted = quote(text, safe="")
    responses = []
    for kind, body in invalid_bodies(text):
        responses.append(await api.client.post(f"/api/v1/{kind}", json=body))
        responses.append(await api.client.patch(f"/api/v1/{kind}/{NOBODY}", json=body))
    paths = (
        f"/api/v1/users/{quoted}",
        f"/api/v1/posts/{quoted}",
        f"/{quoted}",
        f"/problems/{quoted}",
        f"/docs/assets/{quoted}",
        f"/api/v1/users?{quoted}=1",
        *(f"/api/v1/users?limit=0&{name}={quoted}" for name in ("email", "is_active", "limit", "cursor")),
        *(f"/api/v1/posts?limit=0&{name}={quoted}" for name in ("author_id", "status", "limit", "cursor")),
    )
    responses += [await api.client.get(path) for path in paths]
    missing = f"/api/v1/users/{NOBODY}"
    for name in ("if-match", "if-none-match", "x-request-id", "content-type", "content-encoding", "accept"):
        headers = [(name.encode(), text.encode())]
        responses.append(await api.client.delete(missing, headers=headers))
        responses.append(await api.client.post("/api/v1/users", content=text.encode(), headers=[*headers, JSON_TYPE]))
        responses.append(await api.client.patch(missing, content=b"[]", headers=headers))
    return responses


async def test_problems_do_not_contain_input(api: Api) -> None:
    responses = await rejected(api, CANARY)
    assert len(responses) > 40
    for response in responses:
        assert 400 <= response.status_code < 500, response.request.url
        assert "canary" not in response.text, response.request.url
        assert "canary" not in repr(response.headers), response.request.url
    assert "canary" not in repr(api.log)


@pytest.mark.parametrize("name", ["email", "full_name", "title", "content", "author_id", "status"])
async def test_lone_surrogate_returns_400_in_each_field(api: Api, name: str) -> None:
    kind, body = ("users", ADA) if name in {"email", "full_name"} else ("posts", POST)
    text = json.dumps({**body, name: "\ud800"})
    for method, path in [("POST", f"/api/v1/{kind}"), ("PATCH", f"/api/v1/{kind}/{NOBODY}")]:
        assert (await api.client.request(method, path, content=text, headers=[JSON_TYPE])).status_code == 400


PATHS = [b"/\xff", b"/%00", b"/\xed\xa0\x80", b"/api/v1/users/\xff\xfe", b"/problems/a\0b", b"/docs/assets/\xff\0"]


@pytest.mark.parametrize("path", [*PATHS, b"/problems/{0.__class__}", b"/docs/assets/" + b"a" * 5000])
async def test_path_with_unusual_bytes_returns_a_problem(api: Api, path: bytes) -> None:
    response = await call(api.app, "GET", path.decode("utf-8", "surrogateescape"))
    assert response.status in {404, 422}
    assert response.headers["content-type"] == "application/problem+json"
