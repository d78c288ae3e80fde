"""Nothing that a caller sends comes back in a refusal, and nothing hostile makes the service fail."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.http.support import ADA, NOBODY, Api, call

CANARY = "canary<script>7f3a"
TYPE = (b"content-type", b"application/json")
POST = {"author_id": NOBODY, "title": "t", "content": "c"}

HOSTILE = [
    "\0", "a\0b", "\x01", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\u202e", "🦉" * 2001,
    "' OR 1=1 --", "%s%n%x", "{}", "{0.__class__}", "${7*7}", "<script>alert(1)</script>", "../../etc/passwd",
    "%00", "%2e%2e%2f", "\r\nx-injected: 1", "a" * 5000, "e\u0301" * 500, "NaN", "Infinity", "-1", "1e999", "9" * 400,
    "null", "true", "[]", "\\", '"', "\uff21\uff20\uff45\uff58\uff0e\uff4f\uff52\uff47", "a@" + "b." * 200 + "org", "@",
    "a@b", "x@xn--.org", "x@\u0378.org", "ß@ß.example", "İ@example.org", "\u200d", " ", "", "\u00a0",
]  # fmt: skip


def refused_bodies(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield bodies for each path with the text in each place where it is refused."""
    for name in ("email", "full_name", "is_active", text):
        yield "users", {**ADA, "nonsense": 1, name: text}
    for name in ("author_id", "title", "content", "status", text):
        yield "posts", {**POST, "nonsense": 1, name: text}


async def refusals(api: Api, text: str) -> list[httpx.Response]:
    """Send the text in every place of a request."""
    quoted = quote(text, safe="")
    latin = text.encode("latin-1", "replace").replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    responses = []
    for kind, body in refused_bodies(text):
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
        headers = [(name.encode(), latin)]
        responses.append(await api.client.delete(missing, headers=headers))
        responses.append(await api.client.post("/api/v1/users", content=text.encode(), headers=[*headers, TYPE]))
        responses.append(await api.client.patch(missing, content=b"[]", headers=headers))
    return responses


async def test_refusals_do_not_echo(api: Api) -> None:
    responses = await refusals(api, CANARY)
    assert len(responses) > 40
    for response in responses:
        assert 400 <= response.status_code < 500, response.request.url
        assert "canary" not in response.text, response.request.url
        assert "canary" not in repr(response.headers), response.request.url
    assert "canary" not in repr(api.log)


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_values_are_refused_or_accepted_but_never_a_failure(api: Api, text: str) -> None:
    for response in await refusals(api, text):
        assert response.status_code < 500, response.request.url
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["status"] == response.status_code
    for kind, body in [
        ("users", {"email": text}),
        ("users", {**ADA, "full_name": text}),
        ("posts", {**POST, "title": text}),
    ]:
        assert (await api.client.post(f"/api/v1/{kind}", json=body)).status_code in {201, 409, 422}


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_is_accepted_comes_back_as_it_was_stored(api: Api, text: str) -> None:
    author = await api.user()
    response = await api.client.post("/api/v1/posts", json={"author_id": author["id"], "title": "t", "content": text})
    assert response.status_code in {201, 422}
    if response.status_code == 201:
        path = response.headers["location"]
        again = await api.client.get(path)
        assert again.json() == response.json()
        assert again.json()["content"] in text


@pytest.mark.parametrize("name", ["email", "full_name", "title", "content", "author_id", "status"])
async def test_halves_of_surrogate_pairs_are_refused_in_every_field(api: Api, name: str) -> None:
    kind, body = ("users", ADA) if name in {"email", "full_name"} else ("posts", POST)
    text = json.dumps({**body, name: "\ud800"})
    for response in [
        await api.client.post(f"/api/v1/{kind}", content=text, headers=[TYPE]),
        await api.client.patch(f"/api/v1/{kind}/{NOBODY}", content=text, headers=[TYPE]),
    ]:
        assert response.status_code == 400


@pytest.mark.parametrize("path", [b"/\xff", b"/api/v1/users/\xff\xfe", b"/%00", b"/\xed\xa0\x80"])
async def test_paths_of_any_octets(api: Api, path: bytes) -> None:
    response = await call(api.app, "GET", path.decode("utf-8", "surrogateescape"))
    assert response.status in {404, 422}
    assert response.headers["content-type"] == "application/problem+json"
