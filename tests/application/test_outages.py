"""Which keys are good while the storage cannot be asked about them, and until when."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.memory.keys import InMemoryApiKeyRepository
from application import authentication
from application.access import OPERATOR, UnauthenticatedError
from application.authentication import OUTAGE_SECONDS
from application.keys import IssuedKey
from application.ports import StorageOverloadedError, StorageSilentError, StorageUnavailableError, TransientError
from domain.keys import ApiKey
from tests.application.desk import REMEMBERS, Desk
from tests.support.services import START


async def known(desk: Desk, seconds: float | None = None) -> IssuedKey:
    """Return a key that was found, remembered no more, and ends so many seconds after that."""
    issued = await desk.issued(None if seconds is None else START + timedelta(seconds=seconds))
    await desk.authenticator.authenticate(issued.text)
    await desk.authenticator.close()
    desk.wait(REMEMBERS)
    return issued


async def opens(desk: Desk, issued: IssuedKey) -> bool:
    caller = await desk.authenticator.authenticate(issued.text, in_outage=True)
    return caller.key_id == issued.key.id


@pytest.mark.parametrize("failure", [StorageUnavailableError, StorageSilentError, StorageOverloadedError])
async def test_a_key_that_was_known_is_good_for_an_hour(desk: Desk, failure: type[TransientError]) -> None:
    issued = await known(desk)
    desk.storage.away = failure()
    assert await opens(desk, issued)
    desk.wait(OUTAGE_SECONDS - REMEMBERS - 0.01)
    assert await opens(desk, issued)
    desk.wait(0.01)
    with pytest.raises(failure):
        await opens(desk, issued)


async def test_it_is_not_where_that_is_not_asked_for(desk: Desk) -> None:
    issued = await known(desk)
    desk.storage.away = StorageUnavailableError()
    with pytest.raises(StorageUnavailableError):
        await desk.authenticator.authenticate(issued.text)
    assert await opens(desk, issued)


async def test_a_key_that_was_never_found_here_is_not(desk: Desk) -> None:
    issued = await desk.issued()
    desk.storage.away = StorageUnavailableError()
    with pytest.raises(StorageUnavailableError):
        await opens(desk, issued)


async def test_nothing_outlasts_the_key_itself(desk: Desk) -> None:
    issued = await known(desk, 60)
    desk.storage.away = StorageUnavailableError()
    desk.wait(60 - REMEMBERS - 0.01)
    assert await opens(desk, issued)
    desk.wait(0.01)
    with pytest.raises(StorageUnavailableError):
        await opens(desk, issued)


async def test_a_key_that_was_revoked_here_is_not(desk: Desk) -> None:
    issued = await known(desk)
    await desk.keys.revoke(OPERATOR, issued.key.id)
    desk.storage.away = StorageUnavailableError()
    with pytest.raises(StorageUnavailableError):
        await opens(desk, issued)


async def test_a_key_that_was_seen_to_be_revoked_elsewhere_is_not(desk: Desk) -> None:
    issued = await known(desk)
    async with desk.storage.transaction() as work:
        await work.keys.revoke(issued.key.id, now=desk.time)
    with pytest.raises(UnauthenticatedError):
        await opens(desk, issued)
    desk.storage.away = StorageUnavailableError()
    with pytest.raises(StorageUnavailableError):
        await opens(desk, issued)


async def test_the_hour_begins_anew_when_the_storage_is_back(desk: Desk) -> None:
    issued = await known(desk)
    desk.wait(OUTAGE_SECONDS - REMEMBERS - 1)
    assert await opens(desk, issued)
    await desk.authenticator.close()
    desk.wait(OUTAGE_SECONDS - 1)
    desk.storage.away = StorageUnavailableError()
    assert await opens(desk, issued)


@pytest.mark.parametrize("meanwhile", ["nothing", "revoked"])
async def test_a_storage_that_does_not_answer_is_not_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    issued = await known(desk)

    async def silent(_: InMemoryApiKeyRepository, key_id: UUID) -> ApiKey:
        if meanwhile == "revoked":
            desk.authenticator.forget(key_id)
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(authentication, "OUTAGE_PATIENCE", 0.01)
    monkeypatch.setattr(InMemoryApiKeyRepository, "get", silent)
    if meanwhile == "nothing":
        assert await opens(desk, issued)
    else:
        with pytest.raises(UnauthenticatedError):
            await opens(desk, issued)
