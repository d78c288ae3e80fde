"""Who comes with which key, what is remembered of it, and for how long."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.memory.keys import InMemoryApiKeyRepository
from adapters.system import new_id
from application import authentication
from application.access import OPERATOR, UnauthenticatedError
from application.authentication import Authenticator
from application.credentials import Peppers, key_text, new_secret
from domain.keys import ApiKey, Scope
from tests.application.desk import REMEMBERS, Desk
from tests.support.services import PEPPERS, SECOND_PEPPER, START

MINUTE = timedelta(minutes=1)


async def test_a_key_opens(desk: Desk) -> None:
    issued = await desk.issued()
    caller = await desk.authenticator.authenticate(issued.text)
    assert (caller.key_id, caller.scopes, caller.user_id) == (issued.key.id, frozenset({Scope.USERS_READ}), None)


async def test_what_is_no_key_is_refused_without_asking_the_storage(desk: Desk) -> None:
    text = (await desk.issued()).text
    before = desk.storage.begun
    wrong_checksum = text[:-1] + ("0" if text[-1] != "0" else "1")
    for wrong in ("", "x", "hexa_", wrong_checksum, text[:-1], f"{text} ", f" {text}", "é" * 76, "\udcff", "\x00"):
        assert not await desk.opens(wrong), wrong
    assert desk.storage.begun == before


async def test_a_key_that_is_unknown_or_wrong_is_refused(desk: Desk) -> None:
    issued = await desk.issued()
    assert not await desk.opens(key_text(new_id(), new_secret()))
    assert not await desk.opens(key_text(issued.key.id, new_secret()))
    assert await desk.opens(issued.text)
    assert not await desk.opens(key_text(issued.key.id, new_secret()))


async def test_every_refusal_is_the_same(desk: Desk) -> None:
    revoked, expired = await desk.issued(), await desk.issued(START + MINUTE)
    await desk.keys.revoke(OPERATOR, revoked.key.id)
    desk.wait(60)
    said = set()
    for text in ("x", revoked.text, expired.text, key_text(new_id(), new_secret())):
        with pytest.raises(UnauthenticatedError) as raised:
            await desk.authenticator.authenticate(text)
        said.add((str(raised.value), raised.value.__cause__))
    assert said == {("", None)}


async def test_a_refusal_is_not_remembered(desk: Desk) -> None:
    text = key_text(new_id(), new_secret())
    for _ in range(3):
        before = desk.storage.begun
        assert not await desk.opens(text)
        assert desk.storage.begun == before + 1
    assert desk.authenticator._known == {}


async def test_a_key_of_a_pepper_that_is_gone_is_refused(desk: Desk) -> None:
    issued = await desk.issued()
    assert await desk.opens(issued.text, desk.another(Peppers({2: SECOND_PEPPER, 3: b"newer"})))
    assert not await desk.opens(issued.text, desk.another(Peppers({3: b"newer"})))


async def test_the_storage_is_not_asked_again_while_a_key_is_remembered(desk: Desk) -> None:
    text = (await desk.issued()).text
    caller = await desk.authenticator.authenticate(text)
    await desk.authenticator.close()
    before = desk.storage.begun
    for _ in range(3):
        desk.wait(REMEMBERS / 3 - 0.01)
        assert await desk.authenticator.authenticate(text) is caller
    assert desk.storage.begun == before
    desk.wait(0.05)
    await desk.authenticator.authenticate(text)
    assert desk.storage.begun > before


async def test_no_key_lies_about_in_memory(desk: Desk) -> None:
    issued = await desk.issued()
    await desk.authenticator.authenticate(issued.text)
    assert len(desk.authenticator._known) == 1
    assert issued.text[38:70] not in repr(vars(desk.authenticator))


async def test_a_key_that_is_revoked_opens_nothing_here_from_then_on(desk: Desk) -> None:
    issued, other = await desk.issued(), await desk.issued()
    assert await desk.opens(issued.text)
    assert await desk.opens(other.text)
    await desk.keys.revoke(OPERATOR, issued.key.id)
    assert not await desk.opens(issued.text)
    await desk.authenticator.close()
    before = desk.storage.begun
    assert await desk.opens(other.text)
    assert desk.storage.begun == before


async def test_elsewhere_it_opens_no_longer_than_it_is_remembered(desk: Desk) -> None:
    issued = await desk.issued()
    elsewhere = desk.another()
    assert await desk.opens(issued.text, elsewhere)
    await elsewhere.close()
    await desk.keys.revoke(OPERATOR, issued.key.id)
    desk.wait(REMEMBERS - 0.01)
    assert await desk.opens(issued.text, elsewhere)
    desk.wait(0.01)
    assert not await desk.opens(issued.text, elsewhere)


async def test_a_key_that_is_revoked_during_a_look_up_is_not_remembered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await desk.issued()
    read, go_on = asyncio.Event(), asyncio.Event()
    get = InMemoryApiKeyRepository.get

    async def slow(self: InMemoryApiKeyRepository, _: UUID) -> ApiKey:
        key = await get(self, issued.key.id)
        read.set()
        await go_on.wait()
        return key

    with monkeypatch.context() as patch:
        patch.setattr(InMemoryApiKeyRepository, "get", slow)
        look_up = asyncio.create_task(desk.opens(issued.text))
        await read.wait()
        await desk.keys.revoke(OPERATOR, issued.key.id)
        go_on.set()
        assert await look_up
    assert not await desk.opens(issued.text)


async def test_the_time_of_a_look_up_counts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = await desk.issued()
    get = InMemoryApiKeyRepository.get

    async def slow(self: InMemoryApiKeyRepository, _: UUID) -> ApiKey:
        key = await get(self, issued.key.id)
        desk.wait(REMEMBERS)
        return key

    with monkeypatch.context() as patch:
        patch.setattr(InMemoryApiKeyRepository, "get", slow)
        assert await desk.opens(issued.text)
    await desk.authenticator.close()
    before = desk.storage.begun
    assert await desk.opens(issued.text)
    assert desk.storage.begun > before


async def test_a_remembered_key_opens_nothing_after_its_end(desk: Desk) -> None:
    issued = await desk.issued(START + timedelta(seconds=2))
    assert await desk.opens(issued.text)
    desk.wait(1.9)
    assert await desk.opens(issued.text)
    desk.wait(0.1)
    assert not await desk.opens(issued.text)


async def test_the_end_of_a_rotated_key_is_known_at_once(desk: Desk) -> None:
    issued = await desk.issued()
    assert await desk.opens(issued.text)
    await desk.keys.rotate(OPERATOR, issued.key.id, until=desk.time)
    assert not await desk.opens(issued.text)


async def test_with_nothing_remembered_the_storage_is_asked_every_time(desk: Desk) -> None:
    issued = await desk.issued()
    forgetful = Authenticator(storage=desk.storage, now=lambda: START, peppers=PEPPERS, remembers=0)
    assert await desk.opens(issued.text, forgetful)
    await forgetful.close()
    async with desk.storage.transaction() as work:
        await work.keys.revoke(issued.key.id, now=START)
    assert not await desk.opens(issued.text, forgetful)


async def test_what_is_remembered_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "MOST_REMEMBERED", 3)
    issued = [await desk.issued() for _ in range(5)]
    for each in issued:
        assert await desk.opens(each.text)
        assert len(desk.authenticator._known) <= 3
    await desk.authenticator.close()
    before = desk.storage.begun
    assert [await desk.opens(each.text) for each in issued[2:]] == [True] * 3
    assert desk.storage.begun == before
