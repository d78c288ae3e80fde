"""Who makes a request: one key in one of two headers, and for every other request the same answer."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from adapters.system import new_id
from application.credentials import key_text
from domain.keys import HashedSecret, Scope
from tests.http.credentials import bearer, stored_key
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY, Api, RawResponse, call, check_problem, findings, serving
from tests.support.callers import CountingStorage
from tests.support.services import PEPPERS, START

KEY = ADMIN_KEY.encode()
OTHER = key_text(new_id(), "1" * 32).encode()
USERS = "/api/v1/users"
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Door:
    api: Api
    storage: CountingStorage


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """An application whose storage counts how often it is asked."""
    storage = CountingStorage()
    async with serving(storage) as api:
        yield Door(api, storage)


async def knock(api: Api, headers: Headers, *, method: str = "GET", path: str = USERS, **more: Any) -> RawResponse:
    """Send a request with these headers and no other key, whose id is always the same."""
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
async def test_a_key_in_either_header_opens(door: Door, headers: Headers) -> None:
    assert (await knock(door.api, headers)).status == 200
    assert door.api.log[-1]["key_id"] == str(ADMIN_ID)


MALFORMED: dict[str, Headers] = {
    "none": [],
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
    "a checksum that is off": [(b"x-api-key", KEY[:-1] + (b"0" if KEY[-1:] != b"0" else b"1"))],
    "the checksum of another key": [(b"x-api-key", KEY[:-6] + OTHER[-6:])],
}


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_key_is_answered_alike_without_asking_the_storage(door: Door, headers: Headers) -> None:
    before = door.storage.begun
    refused = await knock(door.api, headers)
    assert door.storage.begun == before
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="hexapost"'
    assert refused.messages == (await knock(door.api, [])).messages, "nobody learns what was wrong"
    assert door.api.log[-1]["key_id"] is None


async def test_the_answer_without_a_key_is_a_problem(api: Api) -> None:
    response = await api.client.get(USERS, headers={"Authorization": ""})
    problem = check_problem(response, 401, "unauthenticated")
    assert set(problem) == {"type", "title", "status", "detail", "instance", "request_id"}
    assert response.headers.get_list("www-authenticate") == ['Bearer realm="hexapost"']
    assert ADMIN_KEY not in repr(api.log)


REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"expires_at": START - timedelta(seconds=1)},
    "expires now": {"expires_at": START},
    "revoked": {"revoked_at": START},
    "expired and revoked": {"expires_at": START, "revoked_at": START},
    "hashed under a pepper that is gone": {"secret": HashedSecret(pepper=9, digest=bytes(32))},
    "hashed as another key": {"secret": PEPPERS.hashed(ADMIN_KEY)},
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
async def test_a_key_that_is_not_live_is_answered_like_none(door: Door, fields: dict[str, Any]) -> None:
    key = await stored_key(door.storage, **fields)
    before = door.storage.begun
    refused = await knock(door.api, _authorization(b"Bearer " + key.encode()))
    assert door.storage.begun > before, "it was looked at"
    assert refused.messages == (await knock(door.api, [])).messages
    live = await stored_key(door.storage, expires_at=START + timedelta(days=1))
    assert (await knock(door.api, _authorization(b"Bearer " + live.encode()))).status == 200


@pytest.mark.parametrize("key", [OTHER.decode(), key_text(ADMIN_ID, "1" * 32)], ids=["unknown id", "other secret"])
async def test_a_key_that_was_never_issued_is_answered_like_none(api: Api, key: str) -> None:
    assert (await knock(api, [])).messages == (await knock(api, [(b"x-api-key", key.encode())])).messages
    assert (await knock(api, [(b"x-api-key", KEY)])).status == 200


@pytest.mark.parametrize("name", ["access_token", "api_key", "key", "x-api-key", "authorization"])
async def test_a_key_never_comes_from_the_query(api: Api, name: str) -> None:
    query = f"{name}={ADMIN_KEY}".encode()
    assert (await knock(api, [], query=query)).messages == (await knock(api, [])).messages
    response = await api.client.get(USERS, params={name: ADMIN_KEY})
    assert findings(response) in ([(name, "unknown")], [(None, "unknown")])
    assert ADMIN_KEY not in response.text
    assert (await knock(api, [(b"cookie", query)])).status == 401


async def test_nothing_is_read_or_checked_before_the_key(api: Api) -> None:
    headers = [(b"content-length", b"10"), (b"content-type", b"text/plain"), (b"idempotency-key", b'"')]
    for path in (USERS, "/api/v1/posts", "/api/v1/api-keys"):
        refused = await knock(api, headers, method="POST", path=path, query=b"%zz", received=[])
        assert refused.status == 401
    for method in ("GET", "DELETE"):
        assert (await knock(api, [], method=method, path=f"{USERS}/no-id")).status == 401
    assert (await knock(api, [], method="GET", path=f"{USERS}/{NOBODY}")).status == 401


PUBLIC = ["/livez", "/readyz", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/problems"]


@pytest.mark.parametrize("path", [*PUBLIC, "/problems/unauthenticated", "/problems/unknown", "/", "/nowhere"])
async def test_public_pages_take_no_key_and_ignore_a_wrong_one(door: Door, path: str) -> None:
    before = door.storage.begun
    without = await knock(door.api, [], path=path)
    assert without.status == {"/": 307, "/nowhere": 404, "/problems/unknown": 404}.get(path, 200)
    for headers in (MALFORMED["garbage"], [(b"x-api-key", OTHER)], [(b"x-api-key", KEY)]):
        assert (await knock(door.api, headers, path=path)).messages == without.messages
        assert door.api.log[-1]["key_id"] is None
    assert door.storage.begun == before


async def test_the_access_log_tells_which_key_it_was(api: Api) -> None:
    key = await stored_key(api.storage, Scope.USERS_READ)
    for method, path, status in [("GET", USERS, 200), ("GET", "/api/v1/posts", 403), ("GET", f"{USERS}/x", 422)]:
        response = await api.client.request(method, path, headers=bearer(key))
        assert response.status_code == status
        assert api.log[-1]["key_id"].replace("-", "") == key.split("_")[1]
    assert key not in repr(api.log)
    await api.client.get("/livez")
    assert api.log[-1]["key_id"] is None


async def test_a_revoked_key_opens_nothing_from_then_on(api: Api) -> None:
    issued = (await api.client.post("/api/v1/api-keys", json={"name": "k", "scopes": [*Scope]})).json()
    key = bearer(issued["key"])
    for _ in range(2):
        assert (await api.client.get(USERS, headers=key)).status_code == 200
    assert (await api.client.delete(f"/api/v1/api-keys/{issued['id']}", headers=key)).status_code == 204
    check_problem(await api.client.get(USERS, headers=key), 401, "unauthenticated")
    assert (await api.client.get(USERS)).status_code == 200, "others are as they were"
