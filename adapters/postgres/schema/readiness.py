"""Checks if the database is reachable and has the schema of this release."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import text

from adapters.postgres.models import Base
from adapters.postgres.pool import Database
from adapters.postgres.schema.state import SchemaState, SchemaUnreadableError, fetch, schema_state, server_support
from application.ports import StorageBusyError, StorageTimeoutError, TransientStorageError

SCHEMA_AHEAD = (True, "newer than this release")
_SCHEMA = {
    SchemaState.CURRENT: (True, "current"),
    SchemaState.BEHIND: (False, "outdated; run `hexapost migrate`"),
    SchemaState.AHEAD: SCHEMA_AHEAD,
    SchemaState.INCOMPATIBLE: (
        False,
        "incompatible; a later release removed columns or tables that this release needs",
    ),
}
_STATUS = text("""
    SELECT CAST(current_setting('server_version_num') AS integer), getdatabaseencoding(),
        pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
        CASE WHEN pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
            THEN CAST(extract(epoch FROM now() - pg_last_xact_replay_timestamp()) AS integer) END,
        current_schema(),
        ARRAY(
            SELECT string_agg(privilege, ', ' ORDER BY privilege) || ' on ' || name
            FROM unnest(CAST(:tables AS text[])) AS name,
                unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
            WHERE NOT has_table_privilege(to_regclass(name), privilege)
                AND (privilege = 'SELECT' OR name <> 'alembic_version')
            GROUP BY name ORDER BY name
        )
""")
_TABLES = [*Base.metadata.tables, "alembic_version"]
_READ_ONLY = (False, "read-only, writes fail")
_STANDBY = (False, "standby, writes fail")

MAX_DETAIL_LENGTH = 200

CHECK_INTERVAL_SECONDS = 1.0
"""The interval of the checks."""


async def readiness(database: Database) -> Mapping[str, tuple[bool, str]]:
    """Return the readiness of each component by name, with a public status text."""
    try:
        server = await _server_status(database)
        schema = await schema_state(database) if server["database"][0] else None
    except StorageBusyError:
        # A busy service stays ready.
        return {"database": (True, "pool busy"), "migrations": (True, "not checked")}
    except SchemaUnreadableError as error:
        return {"database": (False, str(error)), "migrations": (False, "unknown")}
    except TransientStorageError as error:
        lost = "no response in time" if isinstance(error, StorageTimeoutError) else "connection lost"
        reason = database.connect_error.reason if database.connect_error else lost
        return {"database": (False, f"unreachable: {reason}"), "migrations": (False, "unknown")}
    return {**server, "migrations": _SCHEMA[schema] if schema else (False, "unknown")}


async def _server_status(database: Database) -> Mapping[str, tuple[bool, str]]:
    """Return the support and the role of the server, the lag of a standby, and missing privileges."""
    ((version_number, encoding, is_standby, is_read_only, lag, schema, missing),) = await fetch(
        database, _STATUS, {"tables": _TABLES}
    )
    is_supported, warning = server_support(version_number, encoding)
    if not is_supported:
        return {"database": (False, warning)}
    if is_standby:
        return {"database": _STANDBY, "replication": (True, f"{lag or 0} s behind")}
    if is_read_only:
        return {"database": _READ_ONLY}
    if schema is None:
        return {"database": (False, "missing privilege: USAGE on the schema, or no schema")}
    if missing:
        return {"database": (False, f"missing privileges: {'; '.join(missing)}"[:MAX_DETAIL_LENGTH])}
    return {"database": (True, f"reachable (primary){warning and f'; {warning}'}")}


class ReadinessMonitor:
    """Checks the readiness once a second, so that probes get the last result at once. Opens the pool first.

    It also closes expired connections, because the pool itself finds an expired connection only at its next use.

    It uses a separate connection: behind a busy pool it would wait, and report a healthy database as not ready.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool = database.dedicated_pool()
        self._opened = 0
        self._problems: dict[str, str] = {}
        self.last_result: Mapping[str, tuple[bool, str]] = {"database": (False, "not checked yet")}
        """The result of the last check: the readiness of each component by name, and a status text."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run the monitor during the block. The first check is complete when the block starts."""
        await self.check()
        polling = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            polling.cancel()
            await asyncio.wait([polling])
            await self._pool.close()

    async def check(self) -> None:
        """Check the readiness, and close expired connections of the pool."""
        try:
            self._database.close_expired()
            found = await readiness(self._pool)
            if found["database"] in {_READ_ONLY, _STANDBY}:
                # New connections can find the primary.
                self._pool.expire_connections()
                self._database.expire_connections()
            self.last_result = {**found, "pool": await self._check_pool(is_reachable=found["database"][0])}
        except Exception as error:  # noqa: BLE001 - the monitor must continue
            self.last_result = {"database": (False, "check failed")}
            structlog.get_logger("hexapost").warning("readiness check failed", error_type=type(error).__name__)
        else:
            self._log_change()

    def _log_change(self) -> None:
        """Log the components that are not ready, if they changed. Unlike a probe, the log has the address."""
        problems = {name: detail for name, (is_ready, detail) in self.last_result.items() if not is_ready}
        if problems and self._pool.connect_error:
            problems["database"] = str(self._pool.connect_error)
        if problems != self._problems:
            logger = structlog.get_logger("hexapost")
            if problems:
                logger.warning("not ready", reason="; ".join(f"{name} {text}" for name, text in problems.items()))
            else:
                logger.info("ready again")
            self._problems = problems

    async def _check_pool(self, *, is_reachable: bool) -> tuple[bool, str]:
        """Return the readiness of the pool: it was opened once, can open connections, and writes succeed."""
        if (reason := self._database.failures.write_failure) is not None:
            return False, f"writes fail: {reason}"
        if is_reachable and not self._opened:
            self._opened = await self._database.prewarm()
        if not self._opened:
            return False, "not opened yet"
        if is_reachable and not await self._database.can_connect():
            return False, "cannot open connections"
        return True, f"opened {self._opened} of {self._database.options.pool_size}"

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            await self.check()
