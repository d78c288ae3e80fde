"""Tests for the headers that carry an API key."""

import base64
from typing import Any

import pytest

from adapters.clock import new_id
from application.api_key_tokens import format_api_key
from domain.api_keys import Scope
from tests.http.credentials import bearer, stored_key
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY, Api, RawResponse, call, check_problem, findings
from tests.support.principals import CountingStorage

KEY = ADMIN_KEY.encode()
OTHER = format_api_key(new_id(), "1" * 32).encode()
USERS = "/api/v1/users"
Headers = list[tuple[bytes, bytes]]


async def send(api: Api, headers: Headers, *, method: str = "GET", path: str = USERS, **more: Any) -> RawResponse:
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
    ],
)
async def test_key_is_accepted_in_either_header(api: Api, headers: Headers) -> None:
    assert (await send(api, headers)).status == 200
    assert api.log[-1]["api_key_id"] == str(ADMIN_ID)


MALFORMED: dict[str, Headers] = {
    "no header": [],
    "no authorization": _authorization(b""),
    "no key": _authorization(b"Bearer "),
    "no key nor space": _authorization(b"Bearer"),
    "an empty header": [(b"x-api-key", b"")],
    "no scheme": _authorization(KEY),
    "no space": _authorization(b"Bearer" + KEY),
    "a tab": _authorization(b"Bearer\t" + KEY),
    "Basic": _authorization(b"Basic " + base64.b64encode(b"admin:" + KEY)),
    "Basic with the key": _authorization(b"Basic " + KEY),
    "Digest": _authorization(b"Digest " + KEY),
    "quotes": _authorization(b'Bearer "' + KEY + b'"'),
    "two in a header": _authorization(b"Bearer " + KEY + b" " + KEY),
    "a list": _authorization(b"Bearer " + KEY + b", Bearer " + KEY),
    "a scheme in the other header": [(b"x-api-key", b"Bearer " + KEY)],
    "spaces": [(b"x-api-key", b" " + KEY)],
    "both headers": [*_authorization(b"Bearer " + KEY), (b"x-api-key", KEY)],
    "both headers, one empty": [*_authorization(b"Bearer " + KEY), (b"x-api-key", b"")],
    "both headers, one Basic": [*_authorization(b"Basic YTpi"), (b"x-api-key", KEY)],
    "twice": _authorization(b"Bearer " + KEY) * 2,
    "twice in the other header": [(b"x-api-key", KEY)] * 2,
    "garbage": _authorization(b"Bearer garbage"),
    "controls": [(b"x-api-key", b"\x01\x7f")],
    "NUL": [(b"x-api-key", KEY[:-1] + b"\0")],
    "a line break after it": [(b"x-api-key", KEY + b"\n")],
    "octets above ASCII": [(b"x-api-key", bytes(range(128, 256)))],
    "another alphabet": _authorization("Bearer ключ".encode()),
    "digits of another alphabet": [(b"x-api-key", ADMIN_KEY.replace("_0198", "_\u0660198").encode())],
    "very long": [(b"x-api-key", b"hexa_" + b"0" * 30_000)],
    "very long after a key": _authorization(b"Bearer " + KEY + b"0" * 30_000),
    "capitals": [(b"x-api-key", KEY.upper())],
    "one letter short": [(b"x-api-key", KEY[:-1])],
    "no prefix": [(b"x-api-key", KEY.removeprefix(b"hexa_"))],
    "only the id": [(b"x-api-key", ADMIN_ID.hex.encode())],
    "a wrong checksum": [(b"x-api-key", KEY[:-1] + (b"0" if KEY[-1:] != b"0" else b"1"))],
    "the checksum of another key": [(b"x-api-key", KEY[:-6] + OTHER[-6:])],
}


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_keys_get_the_same_401_without_a_lookup(
    api: Api, storage: CountingStorage, headers: Headers
) -> None:
    before = storage.begun
    refused = await send(api, headers)
    assert storage.begun == before
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="hexapost"'
    assert refused.messages == (await send(api, [])).messages
    assert api.log[-1]["api_key_id"] is None


@pytest.mark.parametrize(
    "key", [OTHER.decode(), format_api_key(ADMIN_ID, "1" * 32)], ids=["unknown id", "other secret"]
)
async def test_unknown_keys_get_the_same_401(api: Api, key: str) -> None:
    refused = await send(api, [(b"x-api-key", key.encode())])
    assert refused.messages == (await send(api, [])).messages
    problem = check_problem(refused.parsed, 401, "unauthenticated")
    assert set(problem) == {"type", "title", "status", "detail", "instance", "request_id"}


@pytest.mark.parametrize("name", ["access_token", "api_key", "key", "x-api-key", "authorization"])
async def test_key_in_query_or_cookie_is_rejected(api: Api, name: str) -> None:
    query = f"{name}={ADMIN_KEY}".encode()
    assert (await send(api, [], query=query)).messages == (await send(api, [])).messages
    response = await api.client.get(USERS, params={name: ADMIN_KEY})
    assert findings(response) in ([(name, "unknown")], [(None, "unknown")])
    assert ADMIN_KEY not in response.text
    assert (await send(api, [(b"cookie", query)])).status == 401


async def test_missing_key_returns_401_before_validation(api: Api) -> None:
    headers = [(b"content-length", b"10"), (b"content-type", b"text/plain"), (b"idempotency-key", b'"')]
    for path in (USERS, "/api/v1/posts", "/api/v1/api-keys"):
        refused = await send(api, headers, method="POST", path=path, query=b"%zz", received=[])
        assert refused.status == 401
    for method in ("GET", "DELETE"):
        assert (await send(api, [], method=method, path=f"{USERS}/no-id")).status == 401
    assert (await send(api, [], method="GET", path=f"{USERS}/{NOBODY}")).status == 401


PUBLIC = ["/livez", "/readyz", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/problems"]


@pytest.mark.parametrize("path", [*PUBLIC, "/problems/unauthenticated", "/problems/unknown", "/", "/nowhere"])
async def test_public_pages_ignore_keys(api: Api, storage: CountingStorage, path: str) -> None:
    before = storage.begun
    without = await send(api, [], path=path)
    assert without.status == {"/nowhere": 404, "/problems/unknown": 404}.get(path, 200)
    for headers in (MALFORMED["garbage"], [(b"x-api-key", OTHER)], [(b"x-api-key", KEY)]):
        assert (await send(api, headers, path=path)).messages == without.messages
        assert api.log[-1]["api_key_id"] is None
    assert storage.begun == before


async def test_access_log_contains_the_key_id(api: Api) -> None:
    key = await stored_key(api.storage, Scope.USERS_READ)
    for path, status in [(USERS, 200), ("/api/v1/posts", 403), (f"{USERS}/x", 422)]:
        assert (await api.client.get(path, headers=bearer(key))).status_code == status
        assert api.log[-1]["api_key_id"].replace("-", "") == key.split("_")[1]
    assert key not in repr(api.log)


async def test_revoked_key_returns_401_at_once(api: Api) -> None:
    issued = (await api.client.post("/api/v1/api-keys", json={"name": "k", "scopes": [*Scope]})).json()
    key = bearer(issued["key"])
    for _ in range(2):
        assert (await api.client.get(USERS, headers=key)).status_code == 200
    assert (await api.client.delete(f"/api/v1/api-keys/{issued['id']}", headers=key)).status_code == 204
    check_problem(await api.client.get(USERS, headers=key), 401, "unauthenticated")
