"""Tests for the authenticator, its cache, and the recorded time of the last use of a key."""

import asyncio
from contextlib import nullcontext
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.clock import new_id
from adapters.memory.api_keys import InMemoryApiKeyRepository
from application import authentication
from application.api_key_tokens import format_api_key, generate_secret
from application.authorization import SYSTEM_PRINCIPAL, UnauthenticatedError
from application.ports import StorageUnavailableError
from application.transactions import RetryPolicy
from application.users import UserService
from tests.application.auth_harness import CACHE_TTL, AuthHarness
from tests.support.principals import HookedStorage, raising
from tests.support.service_factories import START


async def test_authenticator_rejects_malformed_keys_without_a_lookup(auth: AuthHarness) -> None:
    text = (await auth.create_key()).text
    before = auth.storage.begun
    wrong_checksum = text[:-1] + ("0" if text[-1] != "0" else "1")
    for wrong in ("", wrong_checksum, f" {text}", "é" * 76, "\udcff", "\x00"):
        assert not await auth.is_accepted(wrong), wrong
    assert auth.storage.begun == before


async def test_authenticator_raises_the_same_error_for_every_cause(auth: AuthHarness) -> None:
    revoked, expired = await auth.create_key(), await auth.create_key(START + timedelta(minutes=1))
    await auth.keys.revoke(SYSTEM_PRINCIPAL, revoked.key.id)
    auth.advance_clock(60)
    cached = await auth.create_key()
    assert await auth.is_accepted(cached.text)
    unknown, *wrong = [format_api_key(id_, generate_secret()) for id_ in (new_id(), expired.key.id, cached.key.id)]
    errors = set()
    for text in ("x", revoked.text, expired.text, unknown, *wrong):
        with pytest.raises(UnauthenticatedError) as raised:
            await auth.authenticator.authenticate(text)
        errors.add((str(raised.value), raised.value.__cause__))
    assert errors == {(UnauthenticatedError.message, None)}


async def test_authenticator_does_not_cache_rejections(auth: AuthHarness) -> None:
    text = format_api_key(new_id(), generate_secret())
    for _ in range(3):
        before = auth.storage.begun
        assert not await auth.is_accepted(text)
        assert auth.storage.begun == before + 1
    assert auth.authenticator._cache == {}


async def test_authenticator_caches_keys_for_the_cache_ttl(auth: AuthHarness) -> None:
    text = (await auth.create_key()).text
    principal = await auth.authenticator.authenticate(text)
    for _ in range(3):
        auth.advance_clock(CACHE_TTL / 3 - 0.01)
        assert await auth.is_cached(text)
        assert await auth.authenticator.authenticate(text) is principal
        assert auth.authenticator.find_cached(text) is principal
    auth.advance_clock(0.05)
    assert auth.authenticator.find_cached(text) is None
    assert not await auth.is_cached(text)


async def test_find_cached_returns_none_for_invalidated_and_unknown_keys(auth: AuthHarness) -> None:
    created = await auth.create_key()
    principal = await auth.authenticator.authenticate(created.text)
    assert auth.authenticator.find_cached(created.text) is principal
    assert auth.authenticator.find_cached(created.text + "\udcff") is None
    auth.authenticator.invalidate(created.key.id)
    assert auth.authenticator.find_cached(created.text) is None


async def test_authenticator_cache_holds_no_secret(auth: AuthHarness) -> None:
    issued = await auth.create_key()
    await auth.authenticator.authenticate(issued.text)
    assert len(auth.authenticator._cache) == 1
    assert issued.text[38:70] not in repr(vars(auth.authenticator))


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
async def test_authenticator_invalidates_only_the_changed_key(auth: AuthHarness, verb: str) -> None:
    issued, other = await auth.create_key(), await auth.create_key()
    assert await auth.is_accepted(issued.text)
    assert await auth.is_accepted(other.text)
    if verb == "revoke":
        await auth.keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
    else:
        await auth.keys.rotate(SYSTEM_PRINCIPAL, issued.key.id, until=auth.time)
    assert not await auth.is_accepted(issued.text)
    assert await auth.is_cached(other.text)


@pytest.mark.parametrize("is_commit_lost", [False, True])
async def test_authenticator_rejects_keys_of_a_deleted_user(auth: AuthHarness, is_commit_lost: bool) -> None:
    storage = HookedStorage(auth.storage, after=raising(StorageUnavailableError), times=0)
    users = UserService(
        storage=storage,
        clock=lambda: auth.time,
        new_id=new_id,
        retry=RetryPolicy(max_elapsed=0),
        on_delete=auth.authenticator.invalidate_user,
    )
    ada, bob = [await users.create(SYSTEM_PRINCIPAL, email=f"{name}@example.org") for name in ("ada", "bob")]
    issued = [await auth.create_key(user_id=user_id) for user_id in (ada.id, ada.id, bob.id, None)]
    assert [await auth.is_accepted(key.text) for key in issued] == [True] * 4
    storage.times = int(is_commit_lost)
    with pytest.raises(StorageUnavailableError) if is_commit_lost else nullcontext():
        await users.delete(SYSTEM_PRINCIPAL, ada.id)
    assert [await auth.is_accepted(key.text) for key in issued[:2]] == [False] * 2
    assert [await auth.is_cached(key.text) for key in issued[2:]] == [True] * 2


@pytest.mark.parametrize("cache_ttl", [0, CACHE_TTL])
async def test_second_process_accepts_revoked_key_for_the_cache_ttl(auth: AuthHarness, cache_ttl: float) -> None:
    issued = await auth.create_key()
    second = auth.second_process(cache_ttl)
    assert await auth.is_accepted(issued.text, second)
    await second.close()
    await auth.keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
    if cache_ttl:
        auth.advance_clock(cache_ttl - 0.01)
        assert await auth.is_accepted(issued.text, second)
        auth.advance_clock(0.01)
    assert not await auth.is_accepted(issued.text, second)


async def test_authenticator_does_not_cache_key_revoked_during_lookup(auth: AuthHarness) -> None:
    issued = await auth.create_key()
    auth.in_next_lookup(lambda: auth.keys.revoke(SYSTEM_PRINCIPAL, issued.key.id))
    assert await auth.is_accepted(issued.text)
    assert not await auth.is_accepted(issued.text)


async def test_cache_ttl_starts_before_the_lookup(auth: AuthHarness) -> None:
    issued = await auth.create_key()

    async def slow_lookup() -> None:
        auth.advance_clock(CACHE_TTL)

    auth.in_next_lookup(slow_lookup)
    assert await auth.is_accepted(issued.text)
    assert not await auth.is_cached(issued.text)


async def test_authenticator_rejects_cached_key_after_its_expiry(auth: AuthHarness) -> None:
    issued = await auth.create_key(START + timedelta(seconds=2))
    assert await auth.is_accepted(issued.text)
    auth.advance_clock(1.9)
    assert await auth.is_accepted(issued.text)
    auth.advance_clock(0.1)
    assert not await auth.is_accepted(issued.text)


async def test_authenticator_cache_evicts_the_oldest_keys(auth: AuthHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "MAX_CACHE_ENTRIES", 3)
    texts = [(await auth.create_key()).text for _ in range(5)]
    for text in texts:
        assert await auth.is_accepted(text)
        assert len(auth.authenticator._cache) <= 3
    assert [await auth.is_cached(text) for text in texts[2:]] == [True] * 3


async def test_authenticator_records_use_at_most_once_a_minute(auth: AuthHarness) -> None:
    issued = await auth.create_key()
    assert await auth.last_use(issued) is None
    assert await auth.is_accepted(issued.text)
    assert await auth.last_use(issued) == START
    auth.advance_clock(59)
    assert await auth.is_accepted(issued.text)
    assert await auth.last_use(issued) == START
    auth.advance_clock(CACHE_TTL)
    assert await auth.is_accepted(issued.text)
    assert await auth.last_use(issued) == START + timedelta(seconds=64)


async def test_authenticator_does_not_record_rejected_use(auth: AuthHarness) -> None:
    issued = await auth.create_key()
    assert not await auth.is_accepted(format_api_key(issued.key.id, generate_secret()))
    assert await auth.last_use(issued) is None


async def test_authenticator_records_use_in_the_background(auth: AuthHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = await auth.create_key()
    released, record_use = asyncio.Event(), InMemoryApiKeyRepository.record_use

    async def slow(self: InMemoryApiKeyRepository, _: UUID, *, now: datetime) -> None:
        await released.wait()
        await record_use(self, issued.key.id, now=now)

    monkeypatch.setattr(InMemoryApiKeyRepository, "record_use", slow)
    async with asyncio.timeout(30):
        assert await auth.is_accepted(issued.text)
    closing = asyncio.create_task(auth.authenticator.close())
    await asyncio.sleep(0)
    assert not closing.done()
    released.set()
    await closing
    assert (await auth.keys.get(SYSTEM_PRINCIPAL, issued.key.id)).last_used_at == START


async def test_authenticator_accepts_key_when_recording_its_use_fails(
    auth: AuthHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await auth.create_key()

    async def failing(*_: object, **__: object) -> None:
        raise StorageUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(InMemoryApiKeyRepository, "record_use", failing)
        assert await auth.is_accepted(issued.text)
        assert await auth.last_use(issued) is None
    auth.advance_clock(CACHE_TTL)
    assert await auth.is_accepted(issued.text)
    assert await auth.last_use(issued) == auth.time
