"""Tests for the endpoints of API keys."""

import re
from uuid import UUID

import pytest

from domain.api_keys import Scope
from tests.http.openapi_document import DOCUMENT, check
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY, Api, Json, bearer, check_problem, findings, stored_key
from tests.http.test_validation import Invalid, cases
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


async def test_post_api_key_has_defaults(api: Api) -> None:
    body = (await api.client.post(KEYS, json={**GIVEN, "name": "  Zoë 🦉 "})).json()
    assert (body["name"], body["user_id"], body["expires_at"]) == ("Zoë 🦉", None, None)
    explicit = await api.client.post(KEYS, json={**GIVEN, "user_id": None, "expires_at": None})
    assert explicit.json()["expires_at"] is None


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
    "2031-01-01T00:00:00", "2031-01-01", "2031-01-01 00:00:00Z", "2031-01-01T00:00Z", "2031-01-01T00:00:00.Z",
    "2031-01-01T00:00:00,5Z", "2031-01-01T00:00:00+0100", "2031-01-01T00:00:00+25:00", "20310101T000000Z",
    "2031-W01-1T00:00:00Z", "0000-01-01T00:00:00Z", "\u0662031-01-01T00:00:00Z", "2031-01-01T00:00:00Z\n",
    "0001-01-01T00:00:00+01:00",  # in UTC before the first year
    "9999-12-31T23:59:59-01:00",  # in UTC after the last year
    "2029-12-31T23:59:59Z",  # in the past
    "2030-01-01T00:00:00+23:59",
]  # fmt: skip
INVALID: Invalid = {
    "name": {"invalid_type": [None, 7, ["x"], True], "invalid_format": ["", "a\nb"], "too_long": ["x" * 101]},
    "scopes": {
        "invalid_type": [
            None,
            "posts:read",
            {"posts:read": True},
            1,
            [None],
            [1],
            [["posts:read"]],
            ["posts:read", {}],
        ],
        "invalid_choice": [[""], ["posts"], ["posts:*"], ["POSTS:READ"], ["a:b"]],
        "out_of_range": [[], ["posts:read"] * (len(Scope) + 1)],
        "duplicate": [["posts:read", "posts:read"]],
    },
    "user_id": {
        "invalid_type": [1, False, [NOBODY]],
        "invalid_format": ["", "x", NOBODY.replace("-", "")],
        "not_found": [NOBODY],
    },
    "expires_at": {
        "invalid_type": [1_900_000_000, True, ["2031-01-01T00:00:00Z"]],
        "invalid_format": INVALID_TIMES,
        "too_long": ["2031-01-01T00:00:00." + "0" * 44 + "Z"],
    },
    **{name: {"unknown": ["x"]} for name in ("id", "key", "secret", "revoked_at", "last_used_at")},
}


@pytest.mark.parametrize(("changes", "expected"), cases(INVALID))
async def test_post_api_key_returns_422_for_invalid_fields(api: Api, changes: Json, expected: tuple[str, str]) -> None:
    assert findings(await api.client.post(KEYS, json={**GIVEN, **changes})) == [expected]
    assert [key.id for key in await stored_api_keys(api.storage)] == [ADMIN_ID]


async def test_post_api_key_returns_422_for_missing_fields(api: Api) -> None:
    assert sorted(findings(await api.client.post(KEYS, json={}))) == [("/name", "required"), ("/scopes", "required")]


@pytest.mark.parametrize(
    ("at", "stored"),
    [
        ("2031-01-01t00:00:00z", "2031-01-01T00:00:00Z"),
        ("2031-01-01T23:59:59.999999-23:59", "2031-01-02T23:58:59.999999Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("2031-01-01T00:00:00.123456789+00:00", "2031-01-01T00:00:00.123456Z"),
        ("2031-01-01T00:00:00.5Z", "2031-01-01T00:00:00.500000Z"),
    ],
)
async def test_post_api_key_accepts_rfc_3339_times(api: Api, at: str, stored: str) -> None:
    response = await api.client.post(KEYS, json={**GIVEN, "expires_at": at})
    assert (response.status_code, response.json()["expires_at"]) == (201, stored)


@pytest.mark.parametrize("scope", sorted(set(Scope) - {Scope.KEYS_ADMIN}))
async def test_post_api_key_returns_403_for_a_scope_beyond_own(api: Api, scope: Scope) -> None:
    key = bearer(await stored_key(api.storage, *set(Scope) - {scope}))
    response = await api.client.post(KEYS, json={**GIVEN, "scopes": list(Scope)}, headers=key)
    assert check_problem(response, 403, "forbidden")["detail"] == f"The API key lacks the scope {scope}."
    assert f'scope="{scope}"' in response.headers["www-authenticate"]


async def test_delete_api_key_returns_204_each_time(api: Api) -> None:
    issued = (await api.client.post(KEYS, json=GIVEN)).json()
    del issued["key"]
    path = f"{KEYS}/{issued['id']}"
    response = await api.client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    revoked = (await api.client.get(path)).json()
    assert revoked == {**issued, "revoked_at": revoked["revoked_at"]}
    assert revoked["revoked_at"] > issued["created_at"]
    assert (await api.client.delete(path)).status_code == 204
    assert revoked in (await api.client.get(KEYS)).json()["items"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_missing_api_key_returns_404(api: Api, method: str) -> None:
    check_problem(await api.client.request(method, f"{KEYS}/{NOBODY}"), 404, "api-key-not-found")
    assert findings(await api.client.request(method, f"{KEYS}/x")) == [("key_id", "invalid_format")]
    assert findings(await api.client.request(method, f"{KEYS}/{NOBODY}?x=1")) == [("x", "unknown")]
