"""What only the storage in memory promises: it is the process's own, and nobody else's."""

from adapters.memory.storage import InMemoryStorage
from adapters.memory.tables import Tables
from tests.support.examples import (
    a_key,
    a_post,
    a_user,
    an_outcome,
    next_version,
    store_keys,
    store_outcomes,
    store_posts,
    store_users,
    stored_posts,
    stored_users,
    told,
)


async def test_two_storages_know_nothing_of_each_other() -> None:
    one, two = InMemoryStorage(), InMemoryStorage()
    user = a_user()
    await store_users(one, user)
    assert (await stored_users(one), await stored_users(two)) == ([user], [])


async def test_nothing_is_left_of_an_erased_user() -> None:
    storage = InMemoryStorage()
    user = a_user()
    await store_users(storage, user)
    await store_posts(storage, a_post(user))
    key = a_key(user)
    await store_keys(storage, key)
    await store_outcomes(storage, an_outcome(key, subject_id=user.id))
    changed = next_version(user, email="new@example.org")
    async with storage.transaction() as work:
        await work.users.update(changed)
        await work.users.remove(changed)
    assert storage._tables == Tables()


async def test_nothing_is_claimed_once_every_unit_of_work_has_ended() -> None:
    storage = InMemoryStorage()
    key = a_key()
    await store_keys(storage, key)
    outcome = an_outcome(key)
    await store_outcomes(storage, outcome)
    assert await told(storage, outcome) == outcome
    async with storage.transaction() as work:
        assert await work.outcomes.purge(now=outcome.expires_at, limit=1) == 1
        assert len(storage._claims) == 1
    assert storage._claims == {}


async def test_what_was_read_before_does_not_change_under_the_reader() -> None:
    storage = InMemoryStorage()
    user = a_user()
    await store_users(storage, user)
    before = await stored_users(storage)
    async with storage.transaction() as work:
        await work.users.remove(user)
    assert (before, await stored_users(storage)) == ([user], [])
    assert await stored_posts(storage) == []
