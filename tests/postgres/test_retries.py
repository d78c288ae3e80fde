"""Failures as they really happen: the use case is run again from the top, and its caller notices nothing."""

import asyncio

import pytest
from sqlalchemy import URL

from application.access import OPERATOR
from application.ports import ConcurrentChangeError, UnitOfWork
from application.transactions import Retry
from domain.users import User
from tests.support.examples import a_user, next_version, store_users, stored_users
from tests.support.probes import Probe, backend, fetch
from tests.support.services import user_service
from tests.support.stores import Store, opened
from tests.support.waiting import until

LIVING = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"


async def _terminate(store: Store, *pids: int) -> None:
    """Break off connections, and return when the server has."""
    for pid in pids:
        store.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
    await until(lambda: store.admin.execute(LIVING, [list(pids)]).fetchone() == (0,))


async def _fill_pool(probe: Probe, number: int) -> set[int]:
    """Return the processes of as many connections as are in the pool then."""
    barrier = asyncio.Barrier(number)

    async def body(work: UnitOfWork) -> int:
        pid = await backend(work)
        await barrier.wait()
        return pid

    return set(await asyncio.gather(*[probe.look(body) for _ in range(number)]))


@pytest.mark.parametrize("mode", ["change", "look"])
async def test_every_connection_in_the_pool_was_broken_off(store: Store, probe: Probe, mode: str) -> None:
    user = a_user()
    await store_users(store.storage, user)
    before = await _fill_pool(probe, 5)
    await _terminate(store, *before)
    run = probe.change if mode == "change" else probe.look
    assert await run(lambda work: work.users.get(user.id)) == user
    assert not await _fill_pool(probe, 5) & before


async def test_a_late_write_meets_a_broken_connection(store: Store, probe: Probe) -> None:
    user = a_user()
    (pid,) = await _fill_pool(probe, 1)
    await _terminate(store, pid)
    await user_service(store.storage).register(OPERATOR, email=user.email)
    assert [stored.email for stored in await stored_users(store.storage)] == [user.email]


async def test_a_connection_is_broken_off_in_the_middle_of_a_transaction(store: Store, probe: Probe) -> None:
    first, second = a_user(), a_user()
    before = probe.attempts

    async def body(work: UnitOfWork) -> None:
        await work.users.add(first)
        pid = await backend(work)
        if probe.attempts == before + 1:
            await _terminate(store, pid)
        await work.users.add(second)

    await probe.change(body)
    assert probe.attempts == before + 2
    assert await stored_users(store.storage) == [second, first]


async def test_a_connection_that_is_lost_cannot_be_rolled_back_and_need_not(store: Store) -> None:
    async def body(work: UnitOfWork) -> None:
        await work.users.add(a_user())
        await _terminate(store, await backend(work))
        raise KeyError("of the use case")

    with pytest.raises(KeyError, match="of the use case"):
        await Probe(store.storage).change(body)
    assert await stored_users(store.storage) == []
    await until(lambda: store.taken == 0)


async def test_two_units_of_work_wait_for_each_other(store: Store) -> None:
    one, two = a_user(), a_user()
    await store_users(store.storage, one, two)
    both_hold_one = asyncio.Barrier(2)

    async def run(first: User, second: User) -> int:
        probe = Probe(store.storage)

        async def body(work: UnitOfWork) -> None:
            for user in (first, second):
                await work.users.update(next_version(await work.users.get(user.id)))
                await fetch(work, "SELECT 1")
                if user is first and probe.attempts == 1:
                    await both_hold_one.wait()

        await probe.change(body)
        return probe.attempts

    least, most = sorted(await asyncio.gather(run(one, two), run(two, one)))
    assert least == 1 < most  # the other one may also read before the first one's commit, and then run once more
    assert [user.version for user in await stored_users(store.storage)] == [3, 3]


async def test_a_serialization_failure(scratch: URL, driver: str) -> None:
    async with opened(scratch, driver) as store:
        store.admin.execute(f"ALTER DATABASE {scratch.database} SET default_transaction_isolation = 'repeatable read'")
        user, other = a_user(), a_user()
        await store_users(store.storage, user, other)
        probe = Probe(store.storage)

        async def body(work: UnitOfWork) -> User:
            await work.users.update(next_version(await work.users.get(other.id)))
            await fetch(work, "SELECT 1")
            if probe.attempts == 1:
                await user_service(store.storage).change(OPERATOR, user.id, full_name="first")
            changed: User = next_version(await work.users.get(user.id), full_name="second")
            await work.users.update(changed)
            return changed

        changed = await probe.change(body)
        assert (probe.attempts, changed.version) == (2, 3)
        assert await stored_users(store.storage) == [next_version(other), changed]


@pytest.mark.parametrize("mode", ["change", "look"])
async def test_a_migration_changes_a_type_under_a_prepared_statement(scratch: URL, driver: str, mode: str) -> None:
    user, new = a_user(), a_user()
    async with opened(scratch, driver) as store:
        await store_users(store.storage, user)
        probe = Probe(store.storage)

        async def look(work: UnitOfWork) -> User:
            return await work.users.get(user.id)

        async def change(work: UnitOfWork) -> User:
            await work.users.add(new)
            return await work.users.get(user.id)

        await probe.look(look)
        store.admin.execute("ALTER TABLE users ALTER COLUMN full_name TYPE varchar(300)")
        probe.attempts = 0
        assert await (probe.change(change) if mode == "change" else probe.look(look)) == user
        # outside a transaction asyncpg prepares the statement again by itself
        assert probe.attempts == (1 if (mode, driver) == ("look", "asyncpg") else 2)
        assert len(await stored_users(store.storage)) == (2 if mode == "change" else 1)


async def test_a_migration_that_adds_a_column_goes_unnoticed(scratch: URL, driver: str) -> None:
    user, new = a_user(), a_user()
    async with opened(scratch, driver) as store:
        await store_users(store.storage, user)
        probe = Probe(store.storage, retry=Retry(deadline=0))

        async def body(work: UnitOfWork) -> None:
            assert await work.users.get(user.id) == user
            await work.users.add(new)
            assert await work.users.get(user.id) == user
            await work.users.remove(new)

        await probe.change(body)
        store.admin.execute("ALTER TABLE users ADD COLUMN nickname text")
        await probe.change(body)
        assert probe.attempts == 2


@pytest.mark.parametrize("times", [1, 2])
async def test_the_commit_fails_and_is_tried_again(scratch: URL, driver: str, times: int) -> None:
    """A deferred trigger fails as many times as a sequence, which no rollback sets back, has not yet reached."""
    async with opened(scratch, driver) as store:
        _fail_at_commit(store, f"IF nextval('tries') <= {times} THEN RAISE 'no' USING ERRCODE = '40001'; END IF;")
        users = [a_user(), a_user()]
        probe = Probe(store.storage)

        async def body(work: UnitOfWork) -> None:
            await work.users.add(users[0])
            await fetch(work, "SELECT 1")
            if times > 1:
                await work.users.add(users[1])

        await probe.change(body)
        assert len(await stored_users(store.storage)) == times
        assert (probe.attempts, store.taken) == (times + 1, 0)


async def test_the_commit_fails_for_good_and_nothing_is_stored(scratch: URL, driver: str) -> None:
    async with opened(scratch, driver) as store:
        _fail_at_commit(store, "RAISE 'no';")
        with pytest.raises(Exception, match="no"):
            await store_users(store.storage, a_user(), a_user())
        assert (await stored_users(store.storage), store.taken) == ([], 0)
        _fail_at_commit(store, "RAISE 'no' USING ERRCODE = '40001';")
        with pytest.raises(ConcurrentChangeError):
            await store_users(store.storage, a_user(), a_user())
        assert (await stored_users(store.storage), store.taken) == ([], 0)


def _fail_at_commit(store: Store, what: str) -> None:
    store.admin.execute(f"""
        CREATE SEQUENCE IF NOT EXISTS tries;
        CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN {what} RETURN NULL; END $$;
        DROP TRIGGER IF EXISTS at_commit ON users;
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON users
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()
    """)
