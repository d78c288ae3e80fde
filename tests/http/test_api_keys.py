"""Tests for the endpoints of API keys."""

import re
from uuid import UUID

import pytest

from domain.api_keys import Scope
from tests.http.credentials import bearer, stored_key
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY, Api, Json, check_problem, findings
from tests.http.test_openapi import DOCUMENT, check, request_examples
from tests.support.factories import stored_api_keys

KEYS = "/api/v1/api-keys"
GIVEN: Json = {"name": "nightly import", "scopes": ["posts:write", "posts:read"]}


async def test_post_api_key_returns_201_with_the_key(api: Api) -> None:
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


async def test_post_api_key_accepts_documented_examples(api: Api) -> None:
    body = (await api.client.post(KEYS, json={**GIVEN, "name": "  Zoë 🦉 "})).json()
    assert (body["name"], body["user_id"], body["expires_at"]) == ("Zoë 🦉", None, None)
    explicit = await api.client.post(KEYS, json={**GIVEN, "user_id": None, "expires_at": None})
    assert explicit.json()["expires_at"] is None
    for example in request_examples("create_api_key"):
        response = await api.client.post(KEYS, json=example)
        assert response.status_code == 201
        check(DOCUMENT["components"]["schemas"]["CreatedApiKeyResponse"], response.json())


async def test_api_key_secret_is_returned_only_on_creation(api: Api) -> None:
    issued = (await api.client.post(KEYS, json=GIVEN)).json()
    key = issued.pop("key")
    shown = await api.client.get(f"{KEYS}/{issued['id']}")
    assert (shown.status_code, shown.json()) == (200, issued)
    assert shown.headers["cache-control"] == "private, no-cache"
    check(DOCUMENT["components"]["schemas"]["ApiKeyResponse"], shown.json())
    listed = await api.client.get(KEYS)
    assert [item["id"] for item in listed.json()["items"]] == [issued["id"], str(ADMIN_ID)]
    check(DOCUMENT["components"]["schemas"]["ApiKeyPage"], listed.json())
    await api.client.get("/api/v1/posts", headers=bearer(key))
    revoked = await api.client.delete(f"{KEYS}/{issued['id']}")
    sent = f"{shown.text}{shown.headers}{listed.text}{listed.headers}{revoked.headers}{api.log}"
    for secret in (key, key.split("_")[2], ADMIN_KEY, "digest", "pepper"):
        assert secret not in sent
    stored = {stored.id: stored for stored in await stored_api_keys(api.storage)}[UUID(issued["id"])]
    assert key.split("_")[2].encode() not in stored.secret_hash.digest


INVALID_TIMES = [
    "", "infinity", "2031-02-30T00:00:00Z", "2031-13-01T00:00:00Z", "2031-01-01T24:00:01Z", "2031-01-01T00:00:60Z",
    "2031-01-01T00:00:00", "2031-01-01", "2031-01-01 00:00:00Z", "2031-01-01T00:00Z", "2031-01-01T00:00:00.1234567Z",
    "2031-01-01T00:00:00,5Z", "2031-01-01T00:00:00+0100", "2031-01-01T00:00:00+25:00", "20310101T000000Z",
    "2031-W01-1T00:00:00Z", "0000-01-01T00:00:00Z", "\u0662031-01-01T00:00:00Z", "2031-01-01T00:00:00Z\n",
    "0001-01-01T00:00:00+01:00",  # in UTC before the first year
    "9999-12-31T23:59:59-01:00",  # in UTC after the last year
    "2029-12-31T23:59:59Z",  # in the past
    "2030-01-01T00:00:00+23:59",
]  # fmt: skip
INVALID: list[tuple[Json, tuple[str, str]]] = [
    *[({"name": value}, ("/name", "invalid_type")) for value in (None, 7, ["x"], True)],
    *[({"name": value}, ("/name", "invalid_format")) for value in ("", "a\nb")],
    ({"name": "x" * 101}, ("/name", "too_long")),
    *[({"scopes": value}, ("/scopes", "invalid_type")) for value in (None, "posts:read", {"posts:read": True}, 1)],
    *[({"scopes": [value]}, ("/scopes", "invalid_type")) for value in (None, 1, ["posts:read"])],
    ({"scopes": ["posts:read", {}]}, ("/scopes", "invalid_type")),
    *[({"scopes": [value]}, ("/scopes", "invalid_choice")) for value in ("", "posts", "posts:*", "POSTS:READ", "a:b")],
    ({"scopes": []}, ("/scopes", "out_of_range")),
    ({"scopes": ["posts:read"] * 7}, ("/scopes", "out_of_range")),
    ({"scopes": ["posts:read", "posts:read"]}, ("/scopes", "duplicate")),
    *[({"user_id": value}, ("/user_id", "invalid_type")) for value in (1, False, [NOBODY])],
    *[({"user_id": value}, ("/user_id", "invalid_format")) for value in ("", "x", NOBODY.replace("-", ""))],
    ({"user_id": NOBODY}, ("/user_id", "not_found")),
    ({"user_id": NOBODY, "scopes": ["metrics:read"]}, ("/scopes", "invalid_format")),
    *[
        ({"expires_at": value}, ("/expires_at", "invalid_type"))
        for value in (1_900_000_000, True, ["2031-01-01T00:00:00Z"])
    ],
    *[({"expires_at": value}, ("/expires_at", "invalid_format")) for value in INVALID_TIMES],
    *[({name: "x"}, (f"/{name}", "unknown")) for name in ("id", "key", "secret", "revoked_at", "last_used_at")],
]


@pytest.mark.parametrize(("changes", "expected"), INVALID)
async def test_post_api_key_returns_422_for_invalid_fields(api: Api, changes: Json, expected: tuple[str, str]) -> None:
    assert findings(await api.client.post(KEYS, json={**GIVEN, **changes})) == [expected]
    assert [key.id for key in await stored_api_keys(api.storage)] == [ADMIN_ID]


async def test_post_api_key_returns_422_for_missing_fields(api: Api) -> None:
    assert sorted(findings(await api.client.post(KEYS, json={}))) == [("/name", "required"), ("/scopes", "required")]


@pytest.mark.parametrize("at", ["2031-01-01t00:00:00z", "2031-01-01T23:59:59.999999-23:59", "9999-12-31T23:59:59Z"])
async def test_post_api_key_accepts_rfc_3339_times(api: Api, at: str) -> None:
    assert (await api.client.post(KEYS, json={**GIVEN, "expires_at": at})).status_code == 201


@pytest.mark.parametrize("scope", sorted(set(Scope) - {Scope.KEYS_ADMIN}))
async def test_post_api_key_returns_403_for_a_scope_beyond_own(api: Api, scope: Scope) -> None:
    key = bearer(await stored_key(api.storage, *set(Scope) - {scope}))
    response = await api.client.post(KEYS, json={**GIVEN, "scopes": list(Scope)}, headers=key)
    assert check_problem(response, 403, "forbidden")["detail"] == f"The API key lacks the scope {scope}."
    assert f'scope="{scope}"' in response.headers["www-authenticate"]


async def test_delete_api_key_returns_204_each_time(api: Api) -> None:
    issued = (await api.client.post(KEYS, json=GIVEN)).json()
    path = f"{KEYS}/{issued['id']}"
    response = await api.client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    revoked = (await api.client.get(path)).json()
    assert {**revoked, "revoked_at": None} == {name: value for name, value in issued.items() if name != "key"}
    assert revoked["revoked_at"] > issued["created_at"]
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.get(path)).json() == revoked
    assert revoked in (await api.client.get(KEYS)).json()["items"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_missing_api_key_returns_404(api: Api, method: str) -> None:
    check_problem(await api.client.request(method, f"{KEYS}/{NOBODY}"), 404, "api-key-not-found")
    assert findings(await api.client.request(method, f"{KEYS}/x")) == [("key_id", "invalid_format")]
    assert findings(await api.client.request(method, f"{KEYS}/{NOBODY}?x=1")) == [("x", "unknown")]
