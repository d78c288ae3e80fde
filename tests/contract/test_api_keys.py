"""`ApiKeyRepository`: each sentence of its docstrings, over every storage."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.system import new_id
from application.ports import Storage, UnitOfWork
from domain.keys import USER_SCOPES, ApiKey, ApiKeyNotFoundError, HashedSecret, KeyUserNotFoundError, Scope
from domain.users import User
from tests.support.examples import (
    EXPIRES,
    REVOKED,
    USED,
    a_key,
    a_user,
    newest_first,
    store_keys,
    store_users,
    stored_keys,
    stored_users,
)
from tests.support.probes import Probe

SECOND = timedelta(seconds=1)
OWNER = a_user()

Change = Callable[[UnitOfWork, UUID], Awaitable[None]]
KNOWN_CHANGES: list[Change] = [
    lambda work, key_id: work.keys.revoke(key_id, now=REVOKED),
    lambda work, key_id: work.keys.end(key_id, at=EXPIRES),
]


@pytest.fixture
async def owner(storage: Storage) -> User:
    await store_users(storage, OWNER)
    return OWNER


async def _after(storage: Storage, key: ApiKey, *changes: Change) -> ApiKey:
    """Store the key, make the changes, each in a unit of work of its own, and return what is read then."""
    bystander = a_key()
    await store_keys(storage, key, bystander)
    for change in changes:
        async with storage.transaction() as work:
            await change(work, key.id)
    assert bystander in await stored_keys(storage)
    async with storage.readonly() as work:
        return await work.keys.get(key.id)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(a_key(), id="unbound"),
        pytest.param(a_key(OWNER, scopes=USER_SCOPES), id="bound"),
        pytest.param(a_key(expires_at=None, last_used_at=None), id="endless and unused"),
        pytest.param(a_key(revoked_at=REVOKED), id="revoked"),
        pytest.param(a_key(scopes=frozenset(Scope), name="\U0001f989" * 100), id="everything"),
        pytest.param(a_key(scopes=frozenset({Scope.METRICS_READ}), name="x"), id="little"),
        pytest.param(a_key(secret=HashedSecret(pepper=2_147_483_647, digest=bytes(32))), id="another pepper"),
    ],
)
@pytest.mark.usefixtures("owner")
async def test_what_was_added_is_read_as_it_was(storage: Storage, key: ApiKey) -> None:
    await store_keys(storage, key)
    async with storage.readonly() as work:
        read = await work.keys.get(key.id)
        assert read == key
        assert await work.keys.list(limit=1) == [key]
    assert (type(read.secret.digest), isinstance(read.id, UUID)) == (bytes, True)
    assert {type(scope) for scope in read.scopes} == {Scope}
    assert read.created_at.utcoffset() == key.created_at.utcoffset()


async def test_get_raises_when_there_is_no_such_key(storage: Storage) -> None:
    await store_keys(storage, a_key())
    async with storage.readonly() as work:
        with pytest.raises(ApiKeyNotFoundError):
            await work.keys.get(new_id())


async def test_list_has_the_newest_first_and_pages(storage: Storage) -> None:
    keys = [a_key() for _ in range(7)]
    await store_keys(storage, *[keys[place] for place in (3, 0, 6, 1, 5, 2, 4)])
    expected = newest_first(keys)
    async with storage.readonly() as work:
        assert await work.keys.list(limit=9) == expected
        assert await work.keys.list(limit=3) == expected[:3]
        assert await work.keys.list(limit=3, after=expected[2].id) == expected[3:6]
        assert await work.keys.list(limit=3, after=expected[6].id) == []


async def test_add_leaves_a_key_that_is_there_as_it_is(storage: Storage) -> None:
    key = a_key()
    await store_keys(storage, key)
    await store_keys(storage, key, replace(key, name="else", scopes=frozenset({Scope.KEYS_ADMIN}), revoked_at=REVOKED))
    assert await stored_keys(storage) == [key]


async def test_add_refuses_a_user_that_is_not_there(storage: Storage, owner: User) -> None:
    with pytest.raises(KeyUserNotFoundError):
        await store_keys(storage, a_key(a_user()))
    with pytest.raises(KeyUserNotFoundError):
        await store_keys(storage, a_key(owner), a_key(a_user()))
    assert await stored_keys(storage) == []


async def test_a_key_is_added_with_its_user(storage: Storage) -> None:
    user = a_user()
    key = a_key(user)
    async with storage.transaction() as work:
        await work.users.add(user)
        await work.keys.add(key)
        assert await work.keys.get(key.id) == key
    assert await stored_keys(storage) == [key]


async def test_revoke_says_when(storage: Storage) -> None:
    key = a_key()
    assert await _after(storage, key, lambda work, id_: work.keys.revoke(id_, now=REVOKED)) == key.revoked(REVOKED)


@pytest.mark.parametrize("later", [-SECOND, SECOND])
async def test_a_key_that_was_revoked_stays_as_it_is(storage: Storage, later: timedelta) -> None:
    key = a_key(revoked_at=REVOKED)
    assert await _after(storage, key, lambda work, id_: work.keys.revoke(id_, now=REVOKED + later)) == key


@pytest.mark.parametrize("later", [-SECOND, timedelta(0), SECOND])
@pytest.mark.parametrize("expires_at", [EXPIRES, None])
async def test_end_never_puts_off_the_end(storage: Storage, expires_at: object, later: timedelta) -> None:
    key = a_key(expires_at=expires_at)
    ended = await _after(storage, key, lambda work, id_: work.keys.end(id_, at=EXPIRES + later))
    assert ended == key.ending(EXPIRES + later)
    assert ended.expires_at == (EXPIRES + later if expires_at is None else min(EXPIRES, EXPIRES + later))


@pytest.mark.parametrize("later", [-SECOND, timedelta(0), SECOND])
@pytest.mark.parametrize("last_used_at", [USED, None])
async def test_note_use_keeps_the_latest(storage: Storage, last_used_at: object, later: timedelta) -> None:
    key = a_key(last_used_at=last_used_at)
    used = await _after(storage, key, lambda work, id_: work.keys.note_use(id_, now=USED + later))
    assert used == key.used(USED + later)
    assert used.last_used_at == (USED + later if last_used_at is None else max(USED, USED + later))


async def test_the_changes_leave_each_other_alone(storage: Storage) -> None:
    key = a_key(expires_at=None, last_used_at=None)
    changed = await _after(storage, key, *reversed(KNOWN_CHANGES), lambda work, id_: work.keys.note_use(id_, now=USED))
    assert changed == replace(key, revoked_at=REVOKED, expires_at=EXPIRES, last_used_at=USED)


async def test_a_key_that_is_revoked_cannot_end_later(storage: Storage) -> None:
    key = a_key(revoked_at=REVOKED)
    await store_keys(storage, key)
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction() as work:
            await work.keys.end(key.id, at=EXPIRES)
            await work.keys.add(a_key())
    assert await stored_keys(storage) == [key]


@pytest.mark.parametrize("change", KNOWN_CHANGES, ids=["revoke", "end"])
async def test_a_key_that_is_not_there_is_refused_with_all_else(storage: Storage, change: Change) -> None:
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction() as work:
            await change(work, new_id())
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction() as work:
            await work.users.add(a_user())
            await change(work, new_id())
    assert await stored_users(storage) == []


async def test_to_note_the_use_of_a_key_that_is_not_there_is_no_error(storage: Storage) -> None:
    async with storage.transaction() as work:
        await work.keys.note_use(new_id(), now=USED)
    assert await stored_keys(storage) == []


async def test_many_uses_and_ends_at_once_leave_the_latest_and_the_earliest(storage: Storage) -> None:
    key = a_key()
    await store_keys(storage, key)
    times = [SECOND * number for number in range(-9, 10)]

    async def change(time: timedelta) -> None:
        await Probe(storage).change(lambda work: work.keys.note_use(key.id, now=USED + time))
        await Probe(storage).change(lambda work: work.keys.end(key.id, at=EXPIRES + time))

    await asyncio.gather(*[change(time) for time in times])
    assert await stored_keys(storage) == [replace(key, last_used_at=USED + times[-1], expires_at=EXPIRES + times[0])]


async def test_one_of_many_revocations_at_once_counts(storage: Storage) -> None:
    key = a_key()
    await store_keys(storage, key)
    seen: set[object] = set()

    async def revoke(number: int) -> None:
        await Probe(storage).change(lambda work: work.keys.revoke(key.id, now=REVOKED + SECOND * number))
        async with storage.readonly() as work:
            seen.add((await work.keys.get(key.id)).revoked_at)

    await asyncio.gather(*[revoke(number) for number in range(20)])
    assert len(seen) == 1
