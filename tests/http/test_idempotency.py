"""Tests for the header Idempotency-Key, and for the encryption of idempotency records."""

import asyncio
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.memory.unit_of_work import InMemoryStorage
from application.api_keys import ApiKeyService, CreatedApiKey
from application.authorization import SYSTEM_PRINCIPAL
from application.idempotency import IdempotencyInFlightError, IdempotencyRecord
from domain.api_keys import Scope
from tests.http.support import (
    ADA,
    ADMIN_KEY,
    JSON_TYPE,
    Api,
    FailingStorage,
    Json,
    call,
    check_problem,
    findings,
    once,
    serving,
    stored_key,
)
from tests.support.principals import CountingStorage
from tests.support.service_factories import START

USERS, POSTS, KEYS = "/api/v1/users", "/api/v1/posts", "/api/v1/api-keys"
REPLAYED = "idempotency-replayed"
SOON = (START + timedelta(hours=1)).isoformat()
NAME = "a-name-that-is-hard-to-guess"


@dataclass(frozen=True)
class Desk:
    """An application with an author, and a request for each POST endpoint."""

    api: Api
    storage: InMemoryStorage
    author: Json

    def body(self, path: str, **changes: object) -> Json:
        """Return a valid body for the endpoint."""
        return {
            USERS: {**ADA, **changes},
            POSTS: {"author_id": self.author["id"], "title": "T", "content": "C", **changes},
            KEYS: {"name": "k", "scopes": ["users:read"], "user_id": self.author["id"], **changes},
        }[path.rstrip("/")]

    async def send(self, path: str, under: str = "a", *, key: str | None = None, **changes: object) -> httpx.Response:
        """Send the request with an idempotency key."""
        return await self.api.client.post(path, json=self.body(path, **changes), headers=once(under, key))

    @property
    def records(self) -> list[IdempotencyRecord]:
        """The stored idempotency records, oldest first."""
        return [stored.record for stored in self.storage._tables.idempotency_records.values()]

    def store(self, record: IdempotencyRecord) -> None:
        """Replace the idempotency record with the same key."""
        records, id_ = self.storage._tables.idempotency_records, (record.api_key_id, record.key_hash)
        records[id_] = records[id_]._replace(record=record)

    @property
    def counted(self) -> list[int]:
        """The number of stored users, posts, API keys and idempotency records."""
        tables = self.storage._tables
        return [len(tables.users), len(tables.posts), len(tables.api_keys), len(tables.idempotency_records)]


@pytest.fixture
async def desk(api: Api, storage: CountingStorage) -> Desk:
    return Desk(api, storage, await api.user(email="author@example.org"))


every_path = pytest.mark.parametrize("path", [USERS, POSTS, KEYS])


def replayed_parts(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return the parts of a response that a replay repeats."""
    headers = [pair for pair in response.headers.multi_items() if pair[0] not in {"x-request-id", REPLAYED}]
    return response.status_code, response.content, headers


def check_replay(first: httpx.Response, again: httpx.Response) -> None:
    """Check that the second response is a replay of the first."""
    assert (first.status_code, REPLAYED in first.headers) == (201, False)
    assert again.headers.get_list(REPLAYED) == ["true"]
    assert replayed_parts(again) == replayed_parts(first)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


@every_path
async def test_idempotent_post_replays_the_first_response(desk: Desk, path: str) -> None:
    first = await desk.send(path)
    stored = desk.counted
    for _ in range(2):
        again = await desk.send(path)
        check_replay(first, again)
        assert desk.counted == stored
    assert again.headers["location"] == f"{path}/{first.json()['id']}"
    assert again.headers.get("etag") == (None if path == KEYS else '"1"')
    assert again.headers["content-type"] == "application/json"
    assert again.headers["cache-control"] == "no-store"
    assert desk.api.log[-1]["status"] == 201


@every_path
async def test_reused_idempotency_key_returns_422(desk: Desk, path: str) -> None:
    first = await desk.send(path)
    stored = desk.counted
    other = {USERS: {"full_name": "x"}, POSTS: {"title": "x"}, KEYS: {"name": "x"}}[path]
    check_problem(await desk.send(path, **other), 422, "idempotency-key-reused")
    for elsewhere in {USERS, POSTS, KEYS} - {path}:
        check_problem(await desk.send(elsewhere), 422, "idempotency-key-reused")
    headers = {**once("a"), "content-type": "application/json"}
    respelled = await desk.api.client.post(path, content=first.request.content + b" ", headers=headers)
    check_problem(respelled, 422, "idempotency-key-reused")
    assert desk.counted == stored
    check_replay(first, await desk.send(f"{path}/"))


async def test_idempotent_post_returns_409_while_in_flight(api: Api) -> None:
    async with api.over(FailingStorage(IdempotencyInFlightError)):
        response = await api.client.post(USERS, json=ADA, headers=once("a"))
    check_problem(response, 409, "idempotency-in-flight")
    assert response.headers["retry-after"] == "1"


async def test_idempotent_post_returns_410_after_erasure(desk: Desk) -> None:
    made = await desk.send(USERS)
    assert (await desk.api.client.delete(made.headers["location"])).status_code == 204
    stored = desk.counted
    response = await desk.send(USERS)
    check_problem(response, 410, "idempotency-record-erased")
    assert ADA["email"] not in response.text
    assert desk.counted == stored


async def test_idempotency_key_is_compared_exactly_without_its_quotes(desk: Desk) -> None:
    for first, again in [("a", '"a"'), ('"b"', "b"), ("!#[]~" * 51, f'"{"!#[]~" * 51}"')]:
        check_replay(await desk.send(KEYS, first), await desk.send(KEYS, again))
    made = [await desk.send(KEYS, name) for name in ("A", "aa", '"a "', '" a"', "a,b", "\x7e")]
    assert {response.status_code for response in made} == {201}
    assert len({response.json()["key"] for response in made}) == len(made)
    assert all(REPLAYED not in response.headers for response in made)


MALFORMED: list[Sequence[bytes]] = [
    *[[key] for key in (b"", b'""', b'"a', b'a"', b'"a"b"', b'"a\\"b"', b"a b", b'"a";x=1', b'"a", "b"', b'"a\x00"')],
    *[[key] for key in (b"a\n", "é".encode(), b'"\xe9"', b"a" * 256, b'"' + b"a" * 256 + b'"', b"a" * 20_000)],
    *[[b"a", second] for second in (b"a", b"b", b"")],
]


@pytest.mark.parametrize("lines", MALFORMED)
async def test_malformed_idempotency_key_returns_422(desk: Desk, lines: Sequence[bytes]) -> None:
    stored = desk.counted
    body = desk.api.client.build_request("POST", KEYS, json=desk.body(KEYS)).content
    headers = [JSON_TYPE, *[(b"idempotency-key", line) for line in lines]]
    received = [{"type": "http.request", "body": body, "more_body": False}]
    response = await call(desk.api.app, "POST", KEYS, headers=headers, received=received)
    assert findings(response) == [("Idempotency-Key", "invalid_format")]
    assert desk.counted == stored


async def test_idempotency_key_is_ignored_by_other_methods(desk: Desk) -> None:
    path = f"{USERS}/{desk.author['id']}"
    for full_name in ("x", "y"):
        changed = await desk.api.client.patch(path, json={"full_name": full_name}, headers=once("a"))
        assert (changed.json()["full_name"], REPLAYED in changed.headers) == (full_name, False)
    assert (await desk.api.client.get(path, headers=once('"'))).json()["full_name"] == "y"
    assert (await desk.api.client.delete(path, headers=once("a"))).status_code == 204
    check_problem(await desk.api.client.delete(path, headers=once("a")), 404, "user-not-found")
    assert desk.counted[-1] == 0


async def test_idempotency_retention_is_configurable() -> None:
    now, made, given = START, [], {"name": "k", "scopes": ["users:read"]}
    async with serving(InMemoryStorage(clock=lambda: now), idempotency_retention=timedelta(seconds=2)) as api:
        for _ in range(4):
            made.append(await api.client.post(KEYS, json=given, headers=once("a")))
            now += timedelta(seconds=1)
    check_replay(made[0], made[1])
    check_replay(made[2], made[3])
    assert made[0].json()["key"] != made[2].json()["key"]


async def test_idempotency_records_contain_no_plaintext(desk: Desk) -> None:
    issued = (await desk.send(KEYS, NAME)).json()
    user = (await desk.send(USERS, NAME + "2")).json()
    post = (await desk.send(POSTS, NAME + "3", title="A secret title")).json()
    dump = b"".join(record.key_hash + record.fingerprint + record.response for record in desk.records)
    assert len(desk.records) == 3
    for secret in [
        issued["key"], issued["key"].split("_")[2], ADMIN_KEY, NAME, user["email"], user["full_name"], user["id"],
        post["title"], post["id"], "location", "application/json",
    ]:  # fmt: skip
        assert secret.encode() not in dump
    assert issued["key"] not in repr(desk.storage._tables.api_keys)
    assert not re.search(rb"[\x20-\x7e]{24}", dump)
    assert NAME not in repr(desk.api.log)


async def test_idempotency_records_depend_on_the_api_key_and_a_nonce(desk: Desk) -> None:
    first = await desk.send(KEYS)
    other = await desk.api.key(*Scope)
    second = await desk.send(KEYS, key=other)
    assert (second.status_code, second.json()["id"] == first.json()["id"]) == (201, False)
    own, foreign = desk.records
    assert own.key_hash != foreign.key_hash
    assert own.fingerprint != foreign.fingerprint
    desk.storage._tables.idempotency_records.clear()
    await desk.send(KEYS)
    (again,) = desk.records
    assert (again.key_hash, again.fingerprint) == (own.key_hash, own.fingerprint)
    assert again.response[:12] != own.response[:12]


@dataclass(frozen=True)
class Rotation:
    """A key, its successor and the successor of that one."""

    service: ApiKeyService
    keys: list[CreatedApiKey]

    @property
    def texts(self) -> list[str]:
        return [created.text for created in self.keys]


@pytest.fixture
async def rotation(desk: Desk) -> Rotation:
    service: ApiKeyService = desk.api.app.state.hexapost.use_cases.api_keys
    keys = [await service.create(SYSTEM_PRINCIPAL, name="K", scopes=Scope)]
    for _ in range(2):
        keys.append(await service.rotate(SYSTEM_PRINCIPAL, keys[-1].key.id, until=START + timedelta(hours=2)))
    return Rotation(service, keys)


@every_path
@pytest.mark.parametrize(("first", "again"), [(0, 1), (0, 2), (2, 0)])
async def test_retry_with_a_rotated_key_replays(
    desk: Desk, rotation: Rotation, path: str, first: int, again: int
) -> None:
    fields = {"expires_at": SOON} if path == KEYS else {}  # a key creates no key that expires after it
    executed = await desk.send(path, key=rotation.texts[first], **fields)
    stored = desk.counted
    check_replay(executed, await desk.send(path, key=rotation.texts[again], **fields))
    other = {USERS: {"full_name": "x"}, POSTS: {"title": "x"}, KEYS: {"name": "x"}}[path]
    check_problem(await desk.send(path, key=rotation.texts[again], **fields | other), 422, "idempotency-key-reused")
    assert desk.counted == stored
    (record,) = desk.records
    assert record.api_key_id == rotation.keys[0].key.id


async def test_retry_with_the_successor_replays_after_revocation(desk: Desk, rotation: Rotation) -> None:
    executed = await desk.send(POSTS, key=rotation.texts[0])
    for created in rotation.keys[:2]:
        await rotation.service.revoke(SYSTEM_PRINCIPAL, created.key.id)
    check_replay(executed, await desk.send(POSTS, key=rotation.texts[2]))
    assert (await desk.send(POSTS, "b", key=rotation.texts[2])).status_code == 201


async def test_concurrent_requests_with_rotated_keys_execute_once(desk: Desk, rotation: Rotation) -> None:
    before = desk.counted[1]
    responses = await asyncio.gather(*[desk.send(POSTS, key=key) for key in rotation.texts * 5])
    assert desk.counted[1] == before + 1
    assert {response.status_code for response in responses} <= {201, 409}
    assert len({response.json()["id"] for response in responses if response.status_code == 201}) == 1


@pytest.mark.parametrize("has_family", [False, True])
async def test_records_of_a_first_key_are_keyed_with_its_text(desk: Desk, rotation: Rotation, has_family: bool) -> None:
    key = rotation.texts[0] if has_family else await stored_key(desk.storage, family_id=None, family_secret=None)
    executed = await desk.send(KEYS, key=key, expires_at=SOON)
    (record,) = desk.records
    assert record.api_key_id == UUID(hex=key.split("_")[1])
    assert record.key_hash == hmac.digest(key.encode(), b"name\0a", "sha256")
    secret = hmac.digest(key.encode(), b"secret\0a", "sha256")
    content = b"POST\0/api/v1/api-keys\0" + executed.request.content
    assert record.fingerprint == hmac.digest(secret, content, "sha256")
    nonce, cipher = record.response[:12], AESGCM(secret)
    result = json.loads(cipher.decrypt(nonce, record.response[12:], record.key_hash))
    for field in ("family_id", "family_secret"):  # releases without families have no such fields
        del result[0][field]
    sealed = nonce + cipher.encrypt(nonce, json.dumps(result).encode(), record.key_hash)
    desk.store(replace(record, response=sealed))
    check_replay(executed, await desk.send(KEYS, key=key, expires_at=SOON))


async def test_tampered_or_swapped_idempotency_record_returns_500(desk: Desk) -> None:
    await desk.send(KEYS)
    await desk.send(KEYS, "b", name="another")
    record, other = desk.records
    sealed = record.response
    for position in (0, 11, 12, 40, len(sealed) - 1):
        changed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        desk.store(replace(record, response=changed))
        check_problem(await desk.send(KEYS), 500, "internal-error")
    desk.store(replace(record, response=other.response))
    check_problem(await desk.send(KEYS), 500, "internal-error")
    desk.store(record)
    assert (await desk.send(KEYS)).status_code == 201
