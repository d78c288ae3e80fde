"""Tests for the readiness monitor."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic

import pytest
from sqlalchemy import URL
from structlog.testing import capture_logs

from adapters.database_url import Host
from adapters.postgres.connect_errors import ConnectError
from adapters.postgres.pool import Database
from adapters.postgres.schema import readiness
from adapters.postgres.schema.state import schema_state
from adapters.postgres.server_failures import FAILURE_SECONDS
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.testing.template_databases import connected, with_driver
from application.ports import StorageUnavailableError
from tests.postgres.conftest import FAIL
from tests.postgres.failures import ONCE
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out
from tests.support.database_roles import Role, temporary_role
from tests.support.factories import make_user, store_users
from tests.support.freezing_proxy import proxied
from tests.support.polling import TIMEOUT_SECONDS, wait_until
from tests.support.use_case_runner import UseCaseRunner, backend

OPTIONS = replace(PATIENT, pool_size=2)
READY = {"database": (True, "reachable (primary)"), "migrations": (True, "current"), "pool": (True, "opened 2 of 2")}
BROKEN = {"migrations": (False, "unknown"), "pool": (True, "opened 2 of 2")}
LOST = {**BROKEN, "database": (False, "unreachable: connection lost")}
FULL = {**BROKEN, "database": (False, "unreachable: too many connections (SQLSTATE 53300)")}
NOT_OPENED = (False, "not opened yet")
NO_CONNECTIONS = {**READY, "pool": (False, "cannot open connections")}
UNEXPECTED = {"database": (False, "check failed")}
POOL, OWN, UNLIMITED = OPTIONS.pool_size, 1, -1


def _unreadable(state: str) -> dict[str, tuple[bool, str]]:
    return {
        "database": (False, f"cannot read schema version (SQLSTATE {state})"),
        "migrations": (False, "unknown"),
        "pool": NOT_OPENED,
    }


@dataclass
class Monitored:
    """A database and its readiness monitor."""

    watch: readiness.ReadinessMonitor
    database: Database

    async def look(self) -> Mapping[str, tuple[bool, str]]:
        """Return the result of one check."""
        await self.watch.check()
        return self.watch.last_result

    async def look_until(self, expected: object) -> None:
        """Check until the result is as expected: the server counts an ended connection a little longer."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await self.look() != expected:
                pass

    async def query(self) -> int:
        """Run one query through the pool, without a retry."""
        return await UseCaseRunner(SqlAlchemyStorage(self.database), retry=ONCE).read(backend)

    async def fail_queries(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(StorageUnavailableError):
                await self.query()


@asynccontextmanager
async def monitored(url: URL, driver: str) -> AsyncIterator[Monitored]:
    """Open a database and its monitor; every connection must be back in the pool at the end."""
    database = Database(with_driver(url, driver), OPTIONS)
    watch = readiness.ReadinessMonitor(database)
    yield Monitored(watch, database)
    assert checked_out(database) == 0
    await watch._pool.close()
    await database.close()


@pytest.fixture
def role(store: DatabaseFixture) -> Iterator[Role]:
    """A role with the privileges of the service."""
    with temporary_role(store.url) as made:
        made.grant_service()
        yield made


@pytest.fixture
async def monitor(role: Role, driver: str) -> AsyncIterator[Monitored]:
    """A monitor that connects as the role."""
    async with monitored(role.url, driver) as made:
        yield made


async def test_readiness_monitor_checks_and_opens_pool_at_start(role: Role, monitor: Monitored) -> None:
    assert not any(ready for ready, _ in monitor.watch.last_result.values())
    async with monitor.watch.run():
        assert monitor.watch.last_result == READY
        assert role.connections == POOL + OWN
    await monitor.database.close()
    await wait_until(lambda: role.connections == 0)


async def test_readiness_monitor_recovers_after_unexpected_error(
    monitor: Monitored, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Database) -> object:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(readiness, "CHECK_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(readiness, "schema_state", fail)
    async with monitor.watch.run():
        assert monitor.watch.last_result == UNEXPECTED
        monkeypatch.setattr(readiness, "schema_state", schema_state)
        await wait_until(lambda: monitor.watch.last_result == READY)
        monkeypatch.setattr(readiness, "schema_state", fail)
        await wait_until(lambda: monitor.watch.last_result == UNEXPECTED)


async def test_readiness_monitor_logs_changes(role: Role, monitor: Monitored) -> None:
    role.limit(0)
    with capture_logs() as logs:
        for _ in range(2):
            assert (await monitor.look())["database"] == FULL["database"]
        role.limit(UNLIMITED)
        for _ in range(2):
            assert await monitor.look() == READY
    assert [log["event"] for log in logs] == ["not ready", "ready again"]
    reasons = str(logs[0]["reason"]).split("; ")
    assert reasons[0].startswith("database cannot connect to PostgreSQL at ")
    assert reasons[0].endswith("too many connections (SQLSTATE 53300)")


async def test_readiness_reports_pool_without_connections(role: Role, monitor: Monitored) -> None:
    assert await monitor.look() == READY
    role.limit(OWN)
    role.terminate()
    await wait_until(lambda: role.connections == 0)
    assert await monitor.look() == LOST
    await monitor.look_until(READY)  # no request has used the pool yet
    await monitor.fail_queries(POOL + 1)
    for _ in range(2):
        assert await monitor.look() == NO_CONNECTIONS
    role.limit(UNLIMITED)
    assert await monitor.look() == READY
    assert await monitor.query()


async def test_readiness_reports_failed_writes_for_a_while(monitor: Monitored) -> None:
    assert await monitor.look() == READY
    failures, now = monitor.database.failures, monotonic()
    failures._clock = lambda: now
    failures.report("53100")
    reason = "writes fail: the disk of the server is full (SQLSTATE 53100)"
    assert await monitor.look() == {**READY, "pool": (False, reason)}
    now += FAILURE_SECONDS
    assert await monitor.look() == READY


async def test_readiness_accepts_pool_with_some_connections(role: Role, monitor: Monitored) -> None:
    assert await monitor.look() == READY
    connections = [await monitor.database.connect() for _ in range(POOL)]
    role.limit(POOL - 1 + OWN)
    await monitor.database.discard(connections.pop())
    await monitor.fail_queries(1)
    for connection in connections:
        monitor.database.release(connection)
    assert await monitor.look() == READY


async def test_readiness_waits_for_database_and_pool(role: Role, monitor: Monitored) -> None:
    role.limit(0)
    assert await monitor.look() == {**FULL, "pool": NOT_OPENED}
    role.limit(OWN)
    await monitor.look_until({**READY, "pool": NOT_OPENED})  # the rejected session counts until it has ended
    role.limit(UNLIMITED)
    assert await monitor.look() == READY


async def test_readiness_check_does_not_wait_for_busy_pool(monitor: Monitored) -> None:
    assert await monitor.look() == READY
    connections = [await monitor.database.connect() for _ in range(POOL)]
    assert await asyncio.wait_for(monitor.look(), 30) == READY
    monitor.database.connect_error = ConnectError([(Host(None, None), OSError())])
    assert not await monitor.database.can_connect()
    for connection in connections:
        monitor.database.release(connection)
    assert await monitor.database.can_connect()


async def test_readiness_names_missing_privileges(role: Role, monitor: Monitored) -> None:
    role.revoke("alembic_version")
    role.revoke("users", "SELECT")
    role.revoke("posts", "INSERT, DELETE")
    missing = "missing privileges: SELECT on alembic_version; DELETE, INSERT on posts; SELECT on users"
    assert await monitor.look() == {**BROKEN, "database": (False, missing), "pool": NOT_OPENED}
    role.grant_service()
    assert await monitor.look() == READY


async def test_readiness_names_missing_privilege_on_schema(scratch: URL, driver: str) -> None:
    with temporary_role(scratch) as role, connected(scratch) as admin:
        role.grant_service()
        admin.execute("REVOKE USAGE ON SCHEMA public FROM public")
        async with monitored(role.url, driver) as monitor:
            assert (await monitor.look())["database"] == (
                False,
                "missing privilege: USAGE on the schema, or no schema",
            )


async def test_readiness_reports_read_only_server_and_recovery(scratch: URL, driver: str) -> None:
    alter = f'ALTER DATABASE "{scratch.database}" SET default_transaction_read_only = '
    user = make_user()
    with connected(scratch) as admin:
        async with monitored(scratch, driver) as monitor:
            assert await monitor.look() == READY
            admin.execute(f"{alter} on".encode())
            monitor.watch._pool.expire_connections()
            assert (await monitor.look())["database"] == (False, "read-only, writes fail")
            # The pool opens new connections, although no request has failed.
            with pytest.raises(StorageUnavailableError):
                await store_users(SqlAlchemyStorage(monitor.database), user)
            admin.execute("SET default_transaction_read_only = off")
            admin.execute(f"{alter} off".encode())
            assert await monitor.look() == READY
            await store_users(SqlAlchemyStorage(monitor.database), user)


async def test_readiness_reports_role_and_lag_of_standby(scratch: URL, driver: str) -> None:
    functions = {
        "pg_is_in_recovery() RETURNS boolean": "true",
        "pg_last_wal_receive_lsn() RETURNS pg_lsn": "pg_lsn '0/2'",
        "pg_last_wal_replay_lsn() RETURNS pg_lsn": "pg_lsn '0/1'",
        "pg_last_xact_replay_timestamp() RETURNS timestamptz": "now() - interval '75 s'",
    }
    with connected(scratch) as admin:
        for signature, value in functions.items():
            admin.execute(f"CREATE FUNCTION public.{signature} LANGUAGE sql RETURN {value}".encode())
    url = scratch.update_query_dict({"options": "-c search_path=public,pg_catalog"})  # hides the real functions
    async with monitored(url, driver) as monitor:
        assert await monitor.look() == {
            "database": (False, "standby, writes fail"),
            "replication": (True, "75 s behind"),
            "migrations": (False, "unknown"),
            "pool": NOT_OPENED,
        }


@pytest.mark.parametrize("state", ["26000", "42P05"])  # a pooler that mixes up prepared statements
async def test_readiness_reports_mixed_up_statements(scratch: URL, driver: str, state: str) -> None:
    with connected(scratch) as admin:
        admin.execute(FAIL)
        admin.execute("ALTER TABLE alembic_version RENAME TO revisions")
        admin.execute(f"CREATE VIEW alembic_version AS SELECT CAST(fail('{state}') AS text) AS version_num".encode())
    async with monitored(scratch, driver) as monitor:
        assert await monitor.look() == _unreadable(state)


@pytest.mark.drill
async def test_readiness_reports_frozen_server_and_recovery(store: DatabaseFixture, driver: str) -> None:
    async with proxied(store.url) as (url, proxy), monitored(url, driver) as monitor:
        assert await monitor.look() == READY
        own = monitor.watch._pool
        options, own.options = own.options, replace(own.options, attempt_timeout=0.1)
        proxy.freeze()
        assert await monitor.look() == {**BROKEN, "database": (False, "unreachable: no response in time")}
        own.options = options
        proxy.thaw()
        await monitor.look_until(READY)


@pytest.mark.drill
@pytest.mark.parametrize("during_check", [False, True])
async def test_readiness_monitor_stops_while_server_is_frozen(
    store: DatabaseFixture, driver: str, during_check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asyncio.all_tasks()
    monkeypatch.setattr(readiness, "CHECK_INTERVAL_SECONDS", 0.01 if during_check else 600)
    async with (
        proxied(store.url) as (url, proxy),
        asyncio.timeout(TIMEOUT_SECONDS),
        monitored(url, driver) as monitor,
        monitor.watch.run(),
    ):
        monitor.watch._pool.options = replace(monitor.watch._pool.options, attempt_timeout=0.2)
        proxy.freeze()
        if during_check:
            await wait_until(lambda: monitor.watch._pool.usage.in_use == 1)
    await wait_until(lambda: asyncio.all_tasks() <= before)
