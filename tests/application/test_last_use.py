"""Tests for the recorded time of the last use of an API key."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.api_keys import InMemoryApiKeyRepository
from application.api_key_tokens import format_api_key, generate_secret
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import StorageUnavailableError
from tests.application.auth_harness import CACHE_TTL, AuthHarness
from tests.support.service_factories import START


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
    released, note_use = asyncio.Event(), InMemoryApiKeyRepository.record_use

    async def slow(self: InMemoryApiKeyRepository, _: UUID, *, now: datetime) -> None:
        await released.wait()
        await note_use(self, issued.key.id, now=now)

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
