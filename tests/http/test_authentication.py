"""Tests for the headers that carry an API key."""

import base64
from typing import Any

import httpx
import pytest

from adapters.clock import new_id
from application.api_key_tokens import format_api_key
from domain.api_keys import Scope
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY, Api, bearer, call, check_problem, findings
from tests.support.principals import CountingStorage

KEY = ADMIN_KEY.encode()
OTHER = format_api_key(new_id(), "1" * 32).encode()
USERS = "/api/v1/users"
Headers = list[tuple[bytes, bytes]]


async def send(api: Api, headers: Headers, *, method: str = "GET", path: str = USERS, **more: Any) -> httpx.Response:
    """Send a request with these headers, no other API key, and a constant request id."""
    headers = [*headers, (b"x-request-id", b"the-same")]
    return await call(api.app, method, path, headers=headers, key=None, **more)


def _authorization(value: bytes) -> Headers:
    return [(b"authorization", value)]


@pytest.mark.parametrize(
    "headers",
    [
        *[_authorization(scheme + b" " + KEY) for scheme in (b"Bearer", b"bearer", b"BEARER", b"bEaReR")],
        _authorization(b"Bearer   " + KEY),
        [(b"x-api-key", KEY)],
        [(b"x-api-key", KEY)] * 2,
        _authorization(b"Bearer " + KEY) * 2,
        [*_authorization(b"Bearer " + KEY), (b"x-api-key", KEY)],
        *[[*_authorization(other), (b"x-api-key", KEY)] for other in (b"Basic YTpi", b"Digest a=b", b"Bearer", b"")],
        *[
            [*_authorization(b"Bearer " + token), (b"x-api-key", KEY)]
            for token in (b"null", b"eyJhbGciOiJFUzI1NiJ9.e30.c2ln")
        ],
        *[[*_authorization(b"Bearer " + KEY), (b"x-api-key", value)] for value in (b"", b"p4vKq0RmEf2sT9uXw", b"hexa")],
        [*_authorization(b"Basic YTpi"), *_authorization(b"Bearer " + KEY)],
    ],
)
async def test_key_is_accepted_in_either_header(api: Api, headers: Headers) -> None:
    assert (await send(api, headers)).status_code == 200
    assert api.log[-1]["api_key_id"] == str(ADMIN_ID)


GARBAGE = _authorization(b"Bearer garbage")
MALFORMED: list[Headers] = [
    [],
    *[_authorization(value) for value in (b"", b"Bearer ", b"Bearer", KEY, b"Bearer" + KEY, b"Bearer\t" + KEY)],
    *[_authorization(b"Basic " + value) for value in (KEY, base64.b64encode(b"admin:" + KEY))],
    *[_authorization(b'Bearer "%s"' % KEY), _authorization(b"Bearer %s %s" % (KEY, KEY))],
    *[_authorization(b"Bearer %s, Bearer %s" % (KEY, KEY)), _authorization("Bearer ключ".encode()), GARBAGE],
    *[[(b"x-api-key", value)] for value in (b"", b"Bearer " + KEY, KEY[:-1] + b"\0", bytes(range(128, 256)))],
    [(b"x-api-key", b"hexa_" + b"0" * 30_000)],
    *[[*_authorization(b"Bearer " + KEY), (b"x-api-key", value)] for value in (OTHER, b"hexa_", KEY[:-1])],
    [*_authorization(b"Bearer " + KEY[:-1]), (b"x-api-key", KEY)],
    *[
        [*_authorization(b"Bearer " + KEY), *_authorization(b"Bearer " + OTHER)],
        [(b"x-api-key", KEY), (b"x-api-key", OTHER)],
    ],
]


@pytest.mark.parametrize("headers", MALFORMED)
async def test_malformed_keys_get_the_same_401_without_a_lookup(
    api: Api, storage: CountingStorage, headers: Headers
) -> None:
    before = storage.begun
    refused = await send(api, headers)
    assert storage.begun == before
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="hexapost"'
    assert api.log[-1]["api_key_id"] is None
    assert refused.extensions["messages"] == (await send(api, [])).extensions["messages"]
    assert refused.extensions["messages"] == (await send(api, [(b"x-api-key", OTHER)])).extensions["messages"]


@pytest.mark.parametrize("name", ["access_token", "api_key", "key", "x-api-key", "authorization"])
async def test_key_in_query_or_cookie_is_rejected(api: Api, name: str) -> None:
    query = f"{name}={ADMIN_KEY}".encode()
    assert (await send(api, [], query=query)).extensions["messages"] == (await send(api, [])).extensions["messages"]
    response = await api.client.get(USERS, params={name: ADMIN_KEY})
    assert findings(response) in ([(name, "unknown")], [(None, "unknown")])
    assert ADMIN_KEY not in response.text
    assert (await send(api, [(b"cookie", query)])).status_code == 401


async def test_missing_key_returns_401_before_validation(api: Api) -> None:
    headers = [(b"content-length", b"10"), (b"content-type", b"text/plain"), (b"idempotency-key", b'"')]
    for path in (USERS, "/api/v1/posts", "/api/v1/api-keys"):
        refused = await send(api, headers, method="POST", path=path, query=b"%zz", received=[])
        assert refused.status_code == 401
    for method in ("GET", "DELETE"):
        assert (await send(api, [], method=method, path=f"{USERS}/no-id")).status_code == 401
    assert (await send(api, [], method="GET", path=f"{USERS}/{NOBODY}")).status_code == 401


PUBLIC = ["/livez", "/readyz", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/problems"]


@pytest.mark.parametrize("path", [*PUBLIC, "/problems/unauthenticated", "/problems/unknown", "/", "/nowhere"])
async def test_public_pages_ignore_keys(api: Api, storage: CountingStorage, path: str) -> None:
    before = storage.begun
    without = await send(api, [], path=path)
    assert without.status_code == {"/nowhere": 404, "/problems/unknown": 404}.get(path, 200)
    for headers in (GARBAGE, [(b"x-api-key", OTHER)], [(b"x-api-key", KEY)]):
        assert (await send(api, headers, path=path)).extensions["messages"] == without.extensions["messages"]
        assert api.log[-1]["api_key_id"] is None
    assert storage.begun == before


async def test_revoked_key_returns_401_at_once(api: Api) -> None:
    issued = (await api.client.post("/api/v1/api-keys", json={"name": "k", "scopes": [*Scope]})).json()
    key = bearer(issued["key"])
    for _ in range(2):
        assert (await api.client.get(USERS, headers=key)).status_code == 200
    assert (await api.client.delete(f"/api/v1/api-keys/{issued['id']}", headers=key)).status_code == 204
    check_problem(await api.client.get(USERS, headers=key), 401, "unauthenticated")
