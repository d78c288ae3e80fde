"""No connection to be had: in the pool, on the server, or at all."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import URL, PoolProxiedConnection

from adapters.postgres.database import Database, DatabaseOptions
from adapters.postgres.storage import SqlAlchemyStorage
from application.ports import StorageOverloadedError, StorageUnavailableError, UnitOfWork
from application.transactions import Retry
from domain.users import User
from tests.support.databases import with_driver
from tests.support.examples import a_user
from tests.support.probes import Probe
from tests.support.stores import PATIENT, opened, taken
from tests.support.waiting import until

SMALL = replace(PATIENT, pool_size=1, pool_timeout=0.05)


async def _write_two(work: UnitOfWork) -> None:
    await work.users.add(a_user())
    await work.users.add(a_user())


async def test_the_pool_has_no_connection_left(scratch: URL, driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(scratch, driver, SMALL) as store, store.storage.readonly() as holder:
        await holder.users.list(limit=1)
        asked = _count_connects(monkeypatch)
        probe = Probe(store.storage, retry=Retry(deadline=0))
        with pytest.raises(StorageOverloadedError):
            await asyncio.wait_for(probe.look(_look), 30)
        with pytest.raises(StorageOverloadedError):
            await asyncio.wait_for(probe.change(_write_two), 30)
        # each attempt waits once, and not again to undo what was never begun
        assert (probe.attempts, len(asked), store.taken) == (2, 2, 1)


def _count_connects(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    asked: list[None] = []
    connect = Database.connect

    async def counted(database: Database) -> PoolProxiedConnection:
        asked.append(None)
        return await connect(database)

    monkeypatch.setattr(Database, "connect", counted)
    return asked


async def test_a_unit_of_work_waits_for_a_connection_in_the_pool(scratch: URL, driver: str) -> None:
    patient = replace(SMALL, pool_timeout=60)
    async with opened(scratch, driver, patient) as store:
        async with store.storage.readonly() as holder:
            await holder.users.list(limit=1)
            waiting = asyncio.create_task(Probe(store.storage).look(_look))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting == []


async def test_cancelled_while_waiting_for_a_connection(scratch: URL, driver: str) -> None:
    patient = replace(SMALL, pool_timeout=60)
    async with opened(scratch, driver, patient) as store:
        async with store.storage.readonly() as holder:
            await holder.users.list(limit=1)
            waiting = asyncio.create_task(Probe(store.storage).look(_look))
            for _ in range(5):
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert store.taken == 1
        assert store.taken == 0
        assert await Probe(store.storage).look(_look) == []


@pytest.fixture
def limited(scratch: URL, driver: str) -> Iterator[URL]:
    """The URL of a role that the server lets in once at a time."""
    role = f"limited_{scratch.database}"
    with psycopg.connect(with_driver(scratch, None).render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT 1 PASSWORD 'limited'").format(Identifier(role)))
        admin.execute(SQL("GRANT SELECT ON users TO {}").format(Identifier(role)))
        yield with_driver(scratch, driver).set(username=role, password="limited")  # noqa: S106 - a role of this test
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
        admin.execute(SQL("DROP OWNED BY {}").format(Identifier(role)))
        admin.execute(SQL("DROP ROLE {}").format(Identifier(role)))


async def test_the_server_has_no_connection_left(limited: URL) -> None:
    database = Database(limited, PATIENT)
    impatient = Probe(SqlAlchemyStorage(database), retry=Retry(deadline=0))
    patient = Probe(SqlAlchemyStorage(database))
    with psycopg.connect(with_driver(limited, None).render_as_string(hide_password=False)):
        with pytest.raises(StorageUnavailableError):
            await impatient.look(_look)
        waiting = asyncio.create_task(patient.look(_look))
        await until(lambda: patient.attempts > 2)
    assert await waiting == []
    assert (impatient.attempts, taken(database)) == (1, 0)
    await database.close()


def _refused(_: Path) -> URL:
    """Return the URL of a port that nobody listens on."""
    with closing(socket.socket()) as place:
        place.bind(("127.0.0.1", 0))
        return URL.create("postgresql", "hexapost", host="127.0.0.1", port=place.getsockname()[1], database="x")


def _missing(directory: Path) -> URL:
    """Return the URL of a socket that is not there."""
    return URL.create("postgresql", "hexapost", database="x", query={"host": str(directory)})


def _hangs_up(directory: Path) -> URL:
    """Return the URL of a socket on which nobody answers any more."""
    place = directory / ".s.PGSQL.5432"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(place))
        listener.listen()
    return _missing(directory)


@pytest.mark.parametrize("address", [_refused, _missing, _hangs_up])
async def test_the_server_is_not_there(driver: str, address: Callable[[Path], URL], tmp_path: Path) -> None:
    database = Database(with_driver(address(tmp_path), driver), PATIENT)
    for run in ("change", "look"):
        probe = Probe(SqlAlchemyStorage(database), retry=Retry(deadline=0))
        with pytest.raises(StorageUnavailableError):
            await (probe.change(_write_two) if run == "change" else probe.look(_look))
        assert probe.attempts == 1
    probe = Probe(SqlAlchemyStorage(database))
    looking = asyncio.create_task(probe.look(_look))
    await until(lambda: probe.attempts > 2)
    probe.retry = Retry(deadline=0)
    with pytest.raises(StorageUnavailableError):
        await looking
    assert taken(database) == 0
    await database.close()


async def test_a_server_that_accepts_and_says_nothing(driver: str) -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = URL.create(f"postgresql+{driver}", "x", host="127.0.0.1", port=silent.getsockname()[1], database="x")
        database = Database(url, DatabaseOptions(connect_timeout=1))
        with pytest.raises(StorageUnavailableError):
            await asyncio.wait_for(Probe(SqlAlchemyStorage(database), retry=Retry(deadline=0)).look(_look), 30)
        assert taken(database) == 0
        await database.close()


async def _look(work: UnitOfWork) -> Sequence[User]:
    return await work.users.list(limit=1)
