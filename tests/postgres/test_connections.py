"""After an error the connection is used again when it is sound, and never otherwise; none is kept out of the pool."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import URL

from application.ports import ConcurrentChangeError, UnitOfWork
from domain.users import EmailAlreadyRegisteredError, UserNotFoundError
from tests.support.examples import a_user, next_version, store_users, stored_users
from tests.support.probes import Probe, backend, fetch
from tests.support.stores import Store, opened
from tests.support.waiting import until

KNOWN, OTHER = a_user(), a_user()
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"


class UnforeseenError(Exception):
    """Raised by a use case."""


async def _same_address(work: UnitOfWork) -> None:
    await work.users.add(a_user(email=KNOWN.email))


async def _move_to_an_address_that_is_taken(work: UnitOfWork) -> None:
    await work.users.update(next_version(OTHER, email=KNOWN.email))


async def _move_in_a_transaction(work: UnitOfWork) -> None:
    await work.users.add(a_user())
    await _move_to_an_address_that_is_taken(work)


async def _refused_check(work: UnitOfWork) -> None:
    await work.users.update(next_version(KNOWN, full_name="x" * 201))


async def _stale(work: UnitOfWork) -> None:
    await work.users.update(next_version(next_version(KNOWN)))


async def _stale_in_a_transaction(work: UnitOfWork) -> None:
    await work.users.add(a_user())
    await _stale(work)
    await work.users.list(limit=1)


async def _missing(work: UnitOfWork) -> None:
    await work.users.get(a_user().id)


async def _unforeseen(work: UnitOfWork) -> None:
    await work.users.add(a_user())
    await work.users.list(limit=1)
    raise UnforeseenError


async def _unforeseen_before_the_writes_are_sent(work: UnitOfWork) -> None:
    await work.users.list(limit=1)
    await work.users.add(a_user())
    raise UnforeseenError


async def _division_by_zero(work: UnitOfWork) -> None:
    await fetch(work, "SELECT 1 / 0")


async def _division_by_zero_in_a_transaction(work: UnitOfWork) -> None:
    await work.users.add(a_user())
    await fetch(work, "SELECT 1 / 0")


async def _no_such_table(work: UnitOfWork) -> None:
    await fetch(work, "SELECT nothing FROM nowhere")


async def _a_value_that_the_driver_cannot_send(work: UnitOfWork) -> None:
    await work.users.get(object())  # type: ignore[arg-type]


SOUND: list[tuple[Callable[[UnitOfWork], Awaitable[None]], type[Exception]]] = [
    (_same_address, EmailAlreadyRegisteredError),
    (_move_to_an_address_that_is_taken, EmailAlreadyRegisteredError),
    (_move_in_a_transaction, EmailAlreadyRegisteredError),
    (_refused_check, Exception),
    (_stale, ConcurrentChangeError),
    (_stale_in_a_transaction, ConcurrentChangeError),
    (_missing, UserNotFoundError),
    (_unforeseen, UnforeseenError),
    (_unforeseen_before_the_writes_are_sent, UnforeseenError),
]
UNSURE = [_division_by_zero, _division_by_zero_in_a_transaction, _no_such_table, _a_value_that_the_driver_cannot_send]


async def _fail(store: Store, body: Callable[[UnitOfWork], Awaitable[None]], error: type[Exception]) -> int:
    """Store KNOWN and OTHER, run the body, and return the backend that it failed on."""
    await store_users(store.storage, KNOWN, OTHER)
    with pytest.raises(error):
        async with store.storage.transaction() as work:
            pid = await backend(work)
            await body(work)
    await until(lambda: store.taken == 0)
    return pid


@pytest.mark.parametrize(("body", "error"), SOUND)
async def test_a_sound_connection_is_used_again(
    store: Store, body: Callable[[UnitOfWork], Awaitable[None]], error: type[Exception]
) -> None:
    pid = await _fail(store, body, error)
    async with store.storage.readonly() as work:
        assert await backend(work) == pid
        assert await work.users.list(limit=9) == [OTHER, KNOWN]


@pytest.mark.parametrize("body", UNSURE)
async def test_a_connection_on_which_anything_else_failed_is_not_used_again(
    store: Store, body: Callable[[UnitOfWork], Awaitable[None]]
) -> None:
    pid = await _fail(store, body, Exception)
    assert await _pids(store) & {pid} == set()
    await until(lambda: _is_gone(store, pid))
    assert await stored_users(store.storage) == [OTHER, KNOWN]


async def _pids(store: Store, number: int = 20) -> set[int]:
    """Return the backends of all connections that the pool has or makes."""
    barrier = asyncio.Barrier(number)

    async def body(work: UnitOfWork) -> int:
        pid = await backend(work)
        await barrier.wait()
        return pid

    probe = Probe(store.storage)
    return set(await asyncio.gather(*[probe.look(body) for _ in range(number)]))


def _is_gone(store: Store, pid: int) -> bool:
    return store.admin.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("begun", [False, True])
async def test_a_statement_that_was_cancelled_half_way(store: Store, begun: bool, times: int) -> None:
    pids: list[int] = []

    async def body(work: UnitOfWork) -> None:
        if begun:
            await work.users.add(a_user())
        pids.append(await backend(work))
        await fetch(work, "SELECT pg_sleep(600)")

    probe = Probe(store.storage)
    task = asyncio.create_task(probe.change(body))
    await until(lambda: bool(pids) and store.admin.execute(SLEEPING, [pids[0]]).fetchone() == (1,))
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: store.taken == 0)
    assert probe.attempts == 1
    assert pids[0] not in await _pids(store)
    assert await stored_users(store.storage) == []
    await until(lambda: _is_gone(store, pids[0]))


async def test_a_commit_that_was_cancelled_half_way(scratch: URL, driver: str) -> None:
    async with opened(scratch, driver) as store:
        store.admin.execute("""
            CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON users
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()
        """)
        pids: list[int] = []

        async def body(work: UnitOfWork) -> None:
            await work.users.add(a_user())
            pids.append(await backend(work))

        task = asyncio.create_task(Probe(store.storage).change(body))
        await until(lambda: bool(pids) and store.admin.execute(SLEEPING, [pids[0]]).fetchone() == (1,))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: store.taken == 0)
        assert pids[0] not in await _pids(store)
        await until(lambda: _is_gone(store, pids[0]))
        assert await stored_users(store.storage) == []


async def test_a_cancelled_statement_that_the_use_case_hides_stores_nothing(store: Store) -> None:
    async def body(work: UnitOfWork) -> None:
        await work.users.add(a_user())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fetch(work, "SELECT pg_sleep(600)"), 0.01)
        if probe.attempts == 1:
            await work.users.add(a_user())
        else:
            raise UnforeseenError

    probe = Probe(store.storage)
    with pytest.raises(UnforeseenError):
        await probe.change(body)
    assert (probe.attempts, await stored_users(store.storage)) == (2, [])


async def test_no_answer_reaches_another_caller(store: Store) -> None:
    async def ask(number: int) -> int:
        async with store.storage.readonly() as work:
            return int((await fetch(work, "SELECT CAST(:number AS integer), pg_sleep(0.001)", number=number))[0][0])

    async def ask_and_give_up(number: int) -> int:
        task = asyncio.create_task(ask(number))
        for _ in range(number % 17):
            await asyncio.sleep(0)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return number

    for _ in range(3):
        calls = [ask_and_give_up(n) if n % 3 == 0 else ask(n) for n in range(120)]
        assert await asyncio.gather(*calls) == list(range(120))
        await until(lambda: store.taken == 0)
