"""Tests for the schema state, the readiness that follows from it, and pending revisions."""

import asyncio
import re

import pytest
from sqlalchemy import URL

from adapters.postgres.pool import Database, DatabaseOptions
from adapters.postgres.schema import state
from adapters.postgres.schema.pending import pending_revisions
from adapters.postgres.schema.readiness import readiness
from adapters.postgres.schema.state import SchemaState, schema_state, server_support
from adapters.postgres.schema.upgrade import upgrade
from adapters.testing.template_databases import Databases, connected, with_driver
from application.ports import StorageUnavailableError
from migrations.runner.lock_retry import MigrationError
from migrations.runner.revisions import Phase
from tests.migrations.revision_fixtures import HEADS, RevisedDatabase, Revisions
from tests.support.database_fixture import DatabaseFixture, opened
from tests.support.polling import wait_until
from tests.support.schema_dump import schema

LATER = "INSERT INTO alembic_version VALUES ('f00dfeedbeef')"
UNKNOWN = "UPDATE alembic_version SET version_num = 'f00d'"
COMMENT = "COMMENT ON TABLE alembic_version IS"
OUTDATED = (False, "outdated; run `hexapost migrate`")
NEWER = (True, "newer than this release")


@pytest.mark.parametrize(
    ("change", "expected", "migrations"),
    [
        ("SELECT 1", SchemaState.CURRENT, (True, "current")),
        ("DELETE FROM alembic_version", SchemaState.BEHIND, OUTDATED),
        ("UPDATE alembic_version SET version_num = 'f00dfeedbeef'", SchemaState.AHEAD, NEWER),
        (LATER, SchemaState.AHEAD, NEWER),
        (f"{UNKNOWN}; {COMMENT} 'f00d'", SchemaState.BEHIND, OUTDATED),
        (f"{UNKNOWN}; {COMMENT} NULL", SchemaState.BEHIND, OUTDATED),
        (
            f"{LATER}; {COMMENT} 'f00dfeedbeef>=99.0'",
            SchemaState.INCOMPATIBLE,
            (False, "incompatible; a later release removed columns or tables that this release needs"),
        ),
    ],
    ids=["current", "no revision", "unknown revision", "later revision", "unrelated", "no record", "incompatible"],
)
async def test_schema_state_and_readiness_follow_the_applied_revisions(
    database: RevisedDatabase, driver: str, change: str, expected: SchemaState, migrations: tuple[bool, str]
) -> None:
    database.execute(change)
    async with opened(database.url, driver) as store:
        assert await schema_state(store.database) is expected
        assert await readiness(store.database) == {"database": (True, "reachable (primary)"), "migrations": migrations}


async def test_readiness_without_server_is_unreachable(driver: str) -> None:
    url = URL.create(f"postgresql+{driver}", "x", database="x", query={"host": "/missing"})
    database = Database(url, DatabaseOptions())
    with pytest.raises(StorageUnavailableError):
        await schema_state(database)
    reason = "unreachable: socket does not exist"
    assert await readiness(database) == {"database": (False, reason), "migrations": (False, "unknown")}
    await database.close()


@pytest.mark.parametrize(
    ("version", "encoding", "status"),
    [
        (14_0020, "UTF8", (False, "PostgreSQL 14 is not supported; use version 15 to 18")),
        (15_0000, "UTF8", (True, "")),
        (18_0099, "UTF8", (True, "")),
        (19_0000, "UTF8", (True, "PostgreSQL 19 is newer than the tested versions 15 to 18")),
        (
            19_0000,
            "LATIN1",
            (False, "the database has the encoding LATIN1; create a database with the encoding UTF8"),
        ),
    ],
)
def test_server_support_follows_version_and_encoding(version: int, encoding: str, status: tuple[bool, str]) -> None:
    assert server_support(version, encoding) == status


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "SQL_ASCII"])
async def test_database_with_another_encoding_is_refused(databases: Databases, driver: str, encoding: str) -> None:
    empty = databases.empty()
    databases.drop(empty)
    with connected(databases.url) as admin:
        options = f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        admin.execute(f'CREATE DATABASE "{empty.database}" {options}'.encode())
    url = with_driver(empty, driver)
    message = f"the database has the encoding {encoding}; create a database with the encoding UTF8"
    with pytest.raises(MigrationError, match=f"^{message}$"):
        await asyncio.to_thread(upgrade, url, print)
    database = Database(url, DatabaseOptions())
    assert await readiness(database) == {"database": (False, message), "migrations": (False, "unknown")}
    await database.close()
    assert schema(url) == []
    databases.drop(url)


async def test_newer_server_is_used_with_a_warning(database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SUPPORTED_VERSIONS", range(9, 11))
    await asyncio.to_thread(database.upgrade)
    (line,) = database.reported
    assert re.fullmatch(r"PostgreSQL \d+ is newer than the tested versions 9 to 10", line)
    async with opened(database.url, "asyncpg") as store:
        assert (await readiness(store.database))["database"] == (True, f"reachable (primary); {line}")


async def test_pending_revisions_list_their_phases_and_locks(
    store: DatabaseFixture, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))', revision="e1")
    own.add('op.drop_column("users", "full_name")', revision="c1", more='phase = "contract"\nsafe_from = "0.2.0"')
    monkeypatch.setattr("adapters.postgres.schema.pending.script_directory", own.scripts)
    pending = {each.revision: each for each in await pending_revisions(store.database)}
    first, second = pending["e1"], pending["c1"]
    assert (first.safe_from, second.safe_from) == (None, "0.2.0")
    assert first.lines() == [
        "pending: e1: Test e1 (expand)",
        "  ACCESS EXCLUSIVE on users: ALTER TABLE users ADD COLUMN a TEXT",
    ]
    assert second.lines()[0] == "pending: c1: Test c1 (contract, after all processes run release 0.2.0 or later)"


async def test_pending_revisions_are_empty_after_both_phases(scratch: URL, driver: str) -> None:
    await asyncio.to_thread(upgrade, with_driver(scratch, driver), lambda _: None, Phase.CONTRACT)
    async with opened(scratch, driver) as store:
        assert await pending_revisions(store.database) == []


async def test_pending_revisions_are_all_for_empty_database(empty: URL, driver: str) -> None:
    async with opened(empty, driver) as store:
        found = await pending_revisions(store.database)
        assert await schema_state(store.database) is SchemaState.BEHIND
        await wait_until(lambda: store.checked_out == 0)
    assert found[-1].revision in HEADS
