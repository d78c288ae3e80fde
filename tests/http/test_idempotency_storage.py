"""Tests for the encryption of idempotency records."""

import re
from dataclasses import replace

import pytest

from application.idempotency import IdempotencyRecord
from domain.api_keys import Scope
from tests.http.credentials import once
from tests.http.support import ADMIN_KEY, Api, check_problem
from tests.http.test_idempotency import KEYS, POSTS, USERS, Desk
from tests.support.principals import CountingStorage

NAME = "a-name-that-nobody-guesses"


@pytest.fixture
async def desk(api: Api, storage: CountingStorage) -> Desk:
    return Desk(api, storage, await api.user(email="author@example.org"))


def records(desk: Desk) -> list[IdempotencyRecord]:
    """Return the stored idempotency records, oldest first."""
    return list(desk.storage._tables.idempotency_records.values())


def store(desk: Desk, record: IdempotencyRecord) -> None:
    """Replace the idempotency record with the same key."""
    desk.storage._tables.idempotency_records[record.api_key_id, record.key_hash] = record


async def test_idempotency_records_contain_no_plaintext(desk: Desk) -> None:
    issued = (await desk.send(KEYS, NAME)).json()
    user = (await desk.send(USERS, NAME + "2")).json()
    post = (await desk.send(POSTS, NAME + "3", title="A secret title")).json()
    dump = b"".join(record.key_hash + record.fingerprint + record.response for record in records(desk))
    assert len(records(desk)) == 3
    for secret in [
        issued["key"], issued["key"].split("_")[2], ADMIN_KEY, NAME, user["email"], user["full_name"], user["id"],
        post["title"], post["id"], "location", "application/json",
    ]:  # fmt: skip
        assert secret.encode() not in dump
    assert issued["key"] not in repr(desk.storage._tables.api_keys)
    assert not re.search(rb"[\x20-\x7e]{24}", dump)
    assert NAME not in repr(desk.api.log)


async def test_idempotency_records_use_fresh_nonces(desk: Desk) -> None:
    await desk.send(POSTS)
    (first,) = records(desk)
    desk.storage._tables.idempotency_records.clear()
    await desk.send(POSTS)
    (second,) = records(desk)
    assert first.key_hash == second.key_hash
    assert first.response[:12] != second.response[:12]


async def test_idempotency_hashes_depend_on_the_api_key(desk: Desk) -> None:
    first = await desk.send(KEYS)
    other = await desk.api.key(*Scope)
    second = await desk.api.client.post(KEYS, json=desk.body(KEYS), headers=once("a", other))
    assert (second.status_code, second.json()["id"] == first.json()["id"]) == (201, False)
    own, foreign = records(desk)
    assert own.key_hash != foreign.key_hash
    assert own.fingerprint != foreign.fingerprint


async def test_tampered_idempotency_record_returns_500(desk: Desk) -> None:
    await desk.send(KEYS)
    (record,) = records(desk)
    sealed = record.response
    for position in (0, 11, 12, 40, len(sealed) - 1):
        changed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        store(desk, replace(record, response=changed))
        check_problem(await desk.send(KEYS), 500, "internal-error")
    store(desk, record)
    assert (await desk.send(KEYS)).status_code == 201


async def test_swapped_idempotency_record_returns_500(desk: Desk) -> None:
    await desk.send(KEYS)
    await desk.send(KEYS, "b", name="another")
    first, second = records(desk)
    store(desk, replace(first, response=second.response))
    check_problem(await desk.send(KEYS), 500, "internal-error")
