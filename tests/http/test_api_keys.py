"""API keys over HTTP: the contract of creating, showing and revoking them."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.keys import USER_SCOPES, Scope
from tests.http.credentials import bearer, stored_key
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY, Api, Json, check_problem, findings
from tests.http.test_openapi import DOCUMENT, check, request_examples
from tests.support.examples import stored_keys
from tests.support.services import START

KEYS = "/api/v1/api-keys"
GIVEN: Json = {"name": "nightly import", "scopes": ["posts:write", "posts:read"]}


async def test_a_key_is_created(api: Api) -> None:
    user = await api.user()
    given = {**GIVEN, "user_id": user["id"], "expires_at": "2031-02-03T04:05:06.789+01:30"}
    response = await api.client.post(KEYS, json=given)
    assert response.status_code == 201
    body = response.json()
    assert response.headers["location"] == f"{KEYS}/{body['id']}"
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers
    assert body.pop("created_at") >= "2030-01-01T00:00:00Z"
    key = body.pop("key")
    assert re.fullmatch(f"hexa_{UUID(body['id']).hex}_[0-9A-Za-z]{{38}}", key)
    assert body == {
        "id": body["id"],
        "name": "nightly import",
        "scopes": ["posts:read", "posts:write"],
        "user_id": user["id"],
        "expires_at": "2031-02-03T02:35:06.789000Z",
        "last_used_at": None,
        "revoked_at": None,
    }


async def test_a_key_needs_a_name_and_scopes_only(api: Api) -> None:
    body = (await api.client.post(KEYS, json={**GIVEN, "name": "  Zoë 🦉 "})).json()
    assert (body["name"], body["user_id"], body["expires_at"]) == ("Zoë 🦉", None, None)
    explicit = await api.client.post(KEYS, json={**GIVEN, "user_id": None, "expires_at": None})
    assert explicit.json()["expires_at"] is None
    for example in request_examples("create_api_key"):
        response = await api.client.post(KEYS, json=example)
        assert response.status_code == 201
        check(DOCUMENT["components"]["schemas"]["IssuedApiKeyResponse"], response.json())


async def test_a_key_is_shown_once(api: Api) -> None:
    issued = (await api.client.post(KEYS, json=GIVEN)).json()
    key = issued.pop("key")
    shown = await api.client.get(f"{KEYS}/{issued['id']}")
    assert (shown.status_code, shown.json()) == (200, issued)
    assert shown.headers["cache-control"] == "private, no-cache"
    check(DOCUMENT["components"]["schemas"]["ApiKeyResponse"], shown.json())
    listed = await api.client.get(KEYS)
    assert listed.json()["items"][0] == issued
    check(DOCUMENT["components"]["schemas"]["ApiKeyPage"], listed.json())
    await api.client.get("/api/v1/posts", headers=bearer(key))
    revoked = await api.client.delete(f"{KEYS}/{issued['id']}")
    told = f"{shown.text}{shown.headers}{listed.text}{listed.headers}{revoked.headers}{api.log}"
    for secret in (key, key.split("_")[2], ADMIN_KEY, "digest", "pepper"):
        assert secret not in told
    stored = {stored.id: stored for stored in await stored_keys(api.storage)}[UUID(issued["id"])]
    assert key.split("_")[2].encode() not in stored.secret.digest


async def test_head_of_a_key(api: Api) -> None:
    head = await api.client.head(f"{KEYS}/{ADMIN_ID}")
    shown = await api.client.get(f"{KEYS}/{ADMIN_ID}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == shown.headers["content-length"]


TIMES_THAT_ARE_NONE = [
    "2031-02-30T00:00:00Z",  # no such day
    "2031-13-01T00:00:00Z",
    "2031-01-01T24:00:01Z",
    "2031-01-01T00:00:60Z",
    "2031-01-01T00:00:00",  # no offset
    "2031-01-01",
    "2031-01-01 00:00:00Z",
    "2031-01-01T00:00Z",
    "2031-01-01T00:00:00.1234567Z",
    "2031-01-01T00:00:00,5Z",
    "2031-01-01T00:00:00+0100",
    "2031-01-01T00:00:00+25:00",
    "20310101T000000Z",
    "2031-W01-1T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+01:00",  # in UTC before the first year
    "9999-12-31T23:59:59-01:00",  # in UTC after the last
    "\u0662031-01-01T00:00:00Z",
    "2031-01-01T00:00:00Z\n",
    "infinity",
    "",
]
PAST = ["2029-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2030-01-01T00:00:00+23:59"]
REFUSED: list[tuple[Json, tuple[str, str]]] = [
    *[({"name": value}, ("/name", "type")) for value in (None, 7, ["x"], True)],
    *[({"name": value}, ("/name", "format")) for value in ("", "  ", "a\nb", "a\tb", "a\0b")],
    ({"name": "x" * 101}, ("/name", "too_long")),
    *[({"scopes": value}, ("/scopes", "type")) for value in (None, "posts:read", {"posts:read": True}, 1)],
    ({"scopes": [None]}, ("/scopes", "type")),
    ({"scopes": [1]}, ("/scopes", "type")),
    ({"scopes": [["posts:read"]]}, ("/scopes", "type")),
    ({"scopes": ["posts:read", {}]}, ("/scopes", "type")),
    *[({"scopes": [value]}, ("/scopes", "choice")) for value in ("", "posts", "posts:*", "POSTS:READ", "a:b")],
    ({"scopes": []}, ("/scopes", "out_of_range")),
    ({"scopes": ["posts:read"] * 7}, ("/scopes", "out_of_range")),
    ({"scopes": ["posts:read", "posts:read"]}, ("/scopes", "repeated")),
    *[({"user_id": value}, ("/user_id", "type")) for value in (1, False, [NOBODY])],
    *[({"user_id": value}, ("/user_id", "format")) for value in ("", "x", NOBODY.replace("-", ""))],
    ({"user_id": NOBODY}, ("/user_id", "not_found")),
    *[({"expires_at": value}, ("/expires_at", "type")) for value in (1_900_000_000, True, ["2031-01-01T00:00:00Z"])],
    *[({"expires_at": value}, ("/expires_at", "format")) for value in (*TIMES_THAT_ARE_NONE, *PAST)],
    *[({name: "x"}, (f"/{name}", "unknown")) for name in ("id", "key", "secret", "revoked_at", "last_used_at")],
]


@pytest.mark.parametrize(("changes", "expected"), REFUSED)
async def test_fields(api: Api, changes: Json, expected: tuple[str, str]) -> None:
    before = await stored_keys(api.storage)
    assert findings(await api.client.post(KEYS, json={**GIVEN, **changes})) == [expected]
    assert [key.id for key in await stored_keys(api.storage)] == [key.id for key in before]


async def test_fields_that_are_missing(api: Api) -> None:
    assert sorted(findings(await api.client.post(KEYS, json={})), key=str) == [
        ("/name", "required"),
        ("/scopes", "required"),
    ]


@pytest.mark.parametrize("at", ["2031-01-01t00:00:00z", "2031-01-01T23:59:59.999999-23:59", "9999-12-31T23:59:59Z"])
async def test_every_time_of_the_form_is_one(api: Api, at: str) -> None:
    assert (await api.client.post(KEYS, json={**GIVEN, "expires_at": at})).status_code == 201


@pytest.mark.parametrize("scope", sorted(set(Scope) - USER_SCOPES))
async def test_a_key_of_a_user_cannot_reach_beyond_one_user(api: Api, scope: Scope) -> None:
    user = await api.user()
    response = await api.client.post(KEYS, json={**GIVEN, "user_id": user["id"], "scopes": ["users:read", scope]})
    assert findings(response) == [("/scopes", "format")]


@pytest.mark.parametrize("scope", sorted(set(Scope) - {Scope.KEYS_ADMIN}))
async def test_nobody_gives_what_they_do_not_have(api: Api, scope: Scope) -> None:
    key = bearer(await stored_key(api.storage, *set(Scope) - {scope}))
    before = len(await stored_keys(api.storage))
    response = await api.client.post(KEYS, json={**GIVEN, "scopes": list(Scope)}, headers=key)
    problem = check_problem(response, 403, "forbidden")
    assert problem["detail"] == f"The key lacks the scope {scope}."
    assert f'scope="{scope}"' in response.headers["www-authenticate"]
    assert len(await stored_keys(api.storage)) == before
    others = sorted(set(Scope) - {scope})
    assert (await api.client.post(KEYS, json={**GIVEN, "scopes": others}, headers=key)).status_code == 201


async def test_a_key_is_revoked_for_good(api: Api) -> None:
    issued = (await api.client.post(KEYS, json=GIVEN)).json()
    path = f"{KEYS}/{issued['id']}"
    response = await api.client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    revoked = (await api.client.get(path)).json()
    assert {**revoked, "revoked_at": None} == {name: value for name, value in issued.items() if name != "key"}
    assert revoked["revoked_at"] > issued["created_at"]
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.get(path)).json() == revoked, "revoking again changes nothing"
    assert revoked in (await api.client.get(KEYS)).json()["items"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_key_that_is_not_there(api: Api, method: str) -> None:
    check_problem(await api.client.request(method, f"{KEYS}/{NOBODY}"), 404, "api-key-not-found")
    assert findings(await api.client.request(method, f"{KEYS}/x")) == [("key_id", "format")]
    assert findings(await api.client.request(method, f"{KEYS}/{NOBODY}?x=1")) == [("x", "unknown")]


async def test_other_methods_are_not_allowed(api: Api) -> None:
    for method, path, allowed in [("PATCH", f"{KEYS}/{NOBODY}", "DELETE, GET, HEAD"), ("PUT", KEYS, "GET, HEAD, POST")]:
        response = await api.client.request(method, path, json={})
        check_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == allowed


async def test_pages_hold_every_key_once_newest_first(api: Api) -> None:
    made = [(await api.client.post(KEYS, json=GIVEN)).json()["id"] for _ in range(4)]
    made.append(str(UUID(hex=(await stored_key(api.storage, revoked_at=START)).split("_")[1])))
    made.append(str(UUID(hex=(await stored_key(api.storage, expires_at=START - timedelta(days=1))).split("_")[1])))
    seen: list[Any] = []
    path: str | None = f"{KEYS}?limit=3"
    while path:
        response = await api.client.get(path)
        seen.append([item["id"] for item in response.json()["items"]])
        path = response.links["next"]["url"] if "next" in response.links else None
        assert ("next" in response.links) == (response.json()["next_cursor"] is not None)
    assert seen == [made[:2:-1], made[2::-1], [str(ADMIN_ID)]]


async def test_query_of_the_list(api: Api) -> None:
    for query, expected in [
        ("limit=0", ("limit", "out_of_range")),
        ("cursor=x", ("cursor", "not_issued")),
        ("name=x", ("name", "unknown")),
        ("limit=1&limit=2", ("limit", "repeated")),
    ]:
        assert findings(await api.client.get(f"{KEYS}?{query}")) == [expected]
    await api.user()
    await api.user(email="b@example.org")
    cursor = (await api.client.get("/api/v1/users?limit=1")).json()["next_cursor"]
    assert findings(await api.client.get(f"{KEYS}?cursor={cursor}")) == [("cursor", "not_issued")]
