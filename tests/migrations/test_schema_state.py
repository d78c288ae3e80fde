"""How the schema of a database stands to this release."""

import pytest
from sqlalchemy import URL

from adapters.postgres.database import Database, DatabaseOptions
from adapters.postgres.migrations import SchemaState, schema_state
from adapters.postgres.readiness import readiness
from application.ports import StorageUnavailableError
from tests.support.databases import connected
from tests.support.stores import opened
from tests.support.waiting import until

NEWER = "INSERT INTO alembic_version VALUES ('f00dfeedbeef')"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("SELECT 1", SchemaState.CURRENT),
        ("DELETE FROM alembic_version", SchemaState.BEHIND),
        ("UPDATE alembic_version SET version_num = 'f00dfeedbeef'", SchemaState.AHEAD),
        (NEWER, SchemaState.AHEAD),
        (
            "UPDATE alembic_version SET version_num = 'f00d'; COMMENT ON TABLE alembic_version IS 'f00d'",
            SchemaState.BEHIND,
        ),
        (
            "UPDATE alembic_version SET version_num = 'f00d'; COMMENT ON TABLE alembic_version IS NULL",
            SchemaState.BEHIND,
        ),
        (f"{NEWER}; COMMENT ON TABLE alembic_version IS 'f00dfeedbeef>=99.0'", SchemaState.TOO_NEW),
    ],
)
async def test_a_database_with_a_schema(scratch: URL, driver: str, change: str, expected: SchemaState) -> None:
    with connected(scratch) as connection:
        connection.execute(change.encode())
    async with opened(scratch, driver) as store:
        assert await schema_state(store.database) is expected
        await until(lambda: store.taken == 0)


async def test_an_empty_database(empty: URL, driver: str) -> None:
    async with opened(empty, driver) as store:
        assert await schema_state(store.database) is SchemaState.BEHIND
        assert await schema_state(store.database) is SchemaState.BEHIND
        await until(lambda: store.taken == 0)


async def test_a_server_that_is_not_there(driver: str) -> None:
    url = URL.create(f"postgresql+{driver}", "x", database="x", query={"host": "/nowhere/at/all"})
    database = Database(url, DatabaseOptions())
    with pytest.raises(StorageUnavailableError):
        await schema_state(database)
    await database.close()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("SELECT 1", (True, "current")),
        ("DELETE FROM alembic_version", (False, "behind this release: run the migrations")),
        (NEWER, (True, "ahead of this release")),
        (
            f"{NEWER}; COMMENT ON TABLE alembic_version IS 'f00dfeedbeef>=99.0'",
            (False, "without what this release needs: a later one has removed it"),
        ),
    ],
)
async def test_the_service_is_ready_unless_the_schema_is_behind(
    scratch: URL, driver: str, change: str, expected: tuple[bool, str]
) -> None:
    with connected(scratch) as connection:
        connection.execute(change.encode())
    async with opened(scratch, driver) as store:
        assert await readiness(store.database) == {"database": (True, "reachable"), "migrations": expected}


async def test_the_service_is_not_ready_without_its_server(driver: str) -> None:
    url = URL.create(f"postgresql+{driver}", "x", database="x", query={"host": "/nowhere/at/all"})
    database = Database(url, DatabaseOptions())
    assert await readiness(database) == {"database": (False, "unreachable"), "migrations": (False, "unknown")}
    await database.close()
