"""The last use of a key is noted, beside the request."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.keys import InMemoryApiKeyRepository
from application.access import OPERATOR
from application.credentials import key_text, new_secret
from application.ports import StorageUnavailableError
from tests.application.desk import REMEMBERS, Desk
from tests.support.services import START


async def test_the_last_use_is_noted_at_most_once_a_minute(desk: Desk) -> None:
    issued = await desk.issued()
    assert await desk.last_use(issued) is None
    assert await desk.opens(issued.text)
    assert await desk.last_use(issued) == START
    desk.wait(59)
    assert await desk.opens(issued.text)
    assert await desk.last_use(issued) == START
    desk.wait(REMEMBERS)
    assert await desk.opens(issued.text)
    assert await desk.last_use(issued) == START + timedelta(seconds=64)


async def test_a_refused_use_is_not_noted(desk: Desk) -> None:
    issued = await desk.issued()
    assert not await desk.opens(key_text(issued.key.id, new_secret()))
    assert await desk.last_use(issued) is None


async def test_the_request_does_not_wait_for_the_note(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = await desk.issued()
    go_on, note_use = asyncio.Event(), InMemoryApiKeyRepository.note_use

    async def slow(self: InMemoryApiKeyRepository, _: UUID, *, now: datetime) -> None:
        await go_on.wait()
        await note_use(self, issued.key.id, now=now)

    monkeypatch.setattr(InMemoryApiKeyRepository, "note_use", slow)
    async with asyncio.timeout(5):
        assert await desk.opens(issued.text)
    closing = asyncio.create_task(desk.authenticator.close())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    await closing
    assert (await desk.keys.get(OPERATOR, issued.key.id)).last_used_at == START


async def test_a_note_that_fails_does_no_harm(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = await desk.issued()

    async def failing(*_: object, **__: object) -> None:
        raise StorageUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(InMemoryApiKeyRepository, "note_use", failing)
        assert await desk.opens(issued.text)
        assert await desk.last_use(issued) is None
    desk.wait(REMEMBERS)
    assert await desk.opens(issued.text)
    assert await desk.last_use(issued) == desk.time
