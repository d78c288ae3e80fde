"""Tests for stale cache entries that authenticate keys during a storage outage."""

import asyncio
from datetime import timedelta

import pytest

from application import authentication
from application.api_keys import CreatedApiKey
from application.authentication import STALE_CACHE_TTL_SECONDS
from application.authorization import SYSTEM_PRINCIPAL, UnauthenticatedError
from application.ports import StorageBusyError, StorageTimeoutError, StorageUnavailableError, TransientStorageError
from tests.application.auth_harness import CACHE_TTL, AuthHarness
from tests.support.service_factories import START


async def _stale_key(auth: AuthHarness, seconds: float | None = None) -> CreatedApiKey:
    """Return a key with a cache entry that is past the cache TTL. The key expires after `seconds`."""
    issued = await auth.create_key(None if seconds is None else START + timedelta(seconds=seconds))
    await auth.authenticator.authenticate(issued.text)
    await auth.authenticator.close()
    auth.advance_clock(CACHE_TTL)
    return issued


async def _accepts(auth: AuthHarness, issued: CreatedApiKey) -> bool:
    principal = await auth.authenticator.authenticate(issued.text, allow_stale=True)
    return principal.api_key_id == issued.key.id


@pytest.mark.parametrize("failure", [StorageUnavailableError, StorageTimeoutError, StorageBusyError])
async def test_authenticator_accepts_stale_key_for_an_hour_of_outage(
    auth: AuthHarness, failure: type[TransientStorageError]
) -> None:
    issued = await _stale_key(auth)
    auth.storage.away = failure()
    assert await _accepts(auth, issued)
    auth.advance_clock(STALE_CACHE_TTL_SECONDS - CACHE_TTL - 0.01)
    assert await _accepts(auth, issued)
    auth.advance_clock(0.01)
    with pytest.raises(failure):
        await _accepts(auth, issued)


async def test_authenticator_needs_stale_entry_and_permission_in_outage(auth: AuthHarness) -> None:
    uncached = await auth.create_key()
    issued = await _stale_key(auth)
    auth.storage.away = StorageUnavailableError()
    for attempt in (auth.authenticator.authenticate(issued.text), _accepts(auth, uncached)):
        with pytest.raises(StorageUnavailableError):
            await attempt
    assert await _accepts(auth, issued)


@pytest.mark.parametrize("clock_change", [timedelta(), timedelta(hours=25), timedelta(hours=-25)])
async def test_authenticator_rejects_stale_key_after_its_expiry(auth: AuthHarness, clock_change: timedelta) -> None:
    issued = await _stale_key(auth, 60)
    auth.time += clock_change
    auth.storage.away = StorageUnavailableError()
    auth.advance_clock(60 - CACHE_TTL - 0.01)
    assert await _accepts(auth, issued)
    auth.advance_clock(0.01)
    with pytest.raises(StorageUnavailableError):
        await _accepts(auth, issued)


@pytest.mark.parametrize("process", ["this", "another"])
async def test_authenticator_rejects_stale_key_after_revocation(auth: AuthHarness, process: str) -> None:
    issued = await _stale_key(auth)
    if process == "this":
        await auth.keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
    else:
        async with auth.storage.transaction() as work:
            await work.api_keys.revoke(issued.key.id, now=auth.time)
        with pytest.raises(UnauthenticatedError):
            await _accepts(auth, issued)
    auth.storage.away = StorageUnavailableError()
    with pytest.raises(StorageUnavailableError):
        await _accepts(auth, issued)


async def test_successful_lookup_restarts_the_stale_hour(auth: AuthHarness) -> None:
    issued = await _stale_key(auth)
    auth.advance_clock(STALE_CACHE_TTL_SECONDS - CACHE_TTL - 1)
    assert await _accepts(auth, issued)
    await auth.authenticator.close()
    auth.advance_clock(STALE_CACHE_TTL_SECONDS - 1)
    auth.storage.away = StorageUnavailableError()
    assert await _accepts(auth, issued)


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_authenticator_stops_waiting_for_an_unresponsive_storage(
    auth: AuthHarness, monkeypatch: pytest.MonkeyPatch, is_revoked: bool
) -> None:
    issued = await _stale_key(auth)

    async def unresponsive() -> None:
        if is_revoked:
            auth.authenticator.invalidate(issued.key.id)
        await asyncio.Event().wait()

    monkeypatch.setattr(authentication, "STALE_LOOKUP_TIMEOUT_SECONDS", 0.01)
    auth.in_next_lookup(unresponsive)
    if is_revoked:
        with pytest.raises(UnauthenticatedError):
            await _accepts(auth, issued)
    else:
        assert await _accepts(auth, issued)
