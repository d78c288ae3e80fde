"""Tests for the schema state and the readiness that follows from it."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from adapters.postgres.pool import Database, DatabaseOptions
from adapters.postgres.schema.readiness import readiness
from adapters.postgres.schema.state import SchemaState, schema_state
from application.ports import StorageUnavailableError
from tests.migrations.revision_fixtures import EXPAND_HEAD
from tests.support.database_fixture import DatabaseFixture
from tests.support.template_databases import Connection

RECORD = "SELECT obj_description('alembic_version'::regclass)"
LATER = "INSERT INTO alembic_version VALUES ('f00dfeedbeef')"
UNKNOWN = "UPDATE alembic_version SET version_num = 'f00d'"
COMMENT = "COMMENT ON TABLE alembic_version IS"
OUTDATED = (False, "outdated; run `hexapost migrate`")
NEWER = (True, "newer than this release")


@pytest.fixture
def version_table(store: DatabaseFixture) -> Iterator[Connection]:
    """The session that changes `alembic_version`; the table is restored afterwards."""
    ((record,),) = store.admin.execute(RECORD).fetchall()
    yield store.admin
    store.admin.execute("DELETE FROM alembic_version")
    store.admin.execute("INSERT INTO alembic_version VALUES (%s)", [EXPAND_HEAD])
    store.admin.execute(f"{COMMENT} '{record}'".encode())


@pytest.mark.parametrize(
    ("change", "state", "migrations"),
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
    store: DatabaseFixture, version_table: Connection, change: str, state: SchemaState, migrations: tuple[bool, str]
) -> None:
    version_table.execute(change.encode())
    assert await schema_state(store.database) is state
    assert await readiness(store.database) == {"database": (True, "reachable"), "migrations": migrations}


async def test_readiness_without_server_is_unreachable(driver: str) -> None:
    url = URL.create(f"postgresql+{driver}", "x", database="x", query={"host": "/missing"})
    database = Database(url, DatabaseOptions())
    with pytest.raises(StorageUnavailableError):
        await schema_state(database)
    assert await readiness(database) == {"database": (False, "unreachable"), "migrations": (False, "unknown")}
    await database.close()
