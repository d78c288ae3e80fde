"""The migrations on a real server, through both drivers and through none."""

import asyncio
import io
from collections.abc import Callable

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from adapters.postgres.migrations import upgrade
from application.ports import StorageUnavailableError
from migrations.configuration import configuration
from migrations.phases import expand_heads
from migrations.sql import split
from migrations.writing import one_line_for_each_phase
from tests.support.databases import Databases, connected, migrate, with_driver
from tests.support.schemas import revisions, schema
from tests.support.waiting import until

SCRIPTS = ScriptDirectory.from_config(configuration())
(HEAD,) = expand_heads(SCRIPTS)
LOCK = int.from_bytes(b"hexapost")


def _silent(url: URL) -> Config:
    config = configuration(url=url)
    config.attributes["report"] = lambda _: None
    return config


def test_up_and_down_and_up_again(empty: URL, driver: str) -> None:
    config = _silent(with_driver(empty, driver))
    assert schema(empty) == []
    command.upgrade(config, "heads")
    first = schema(empty)
    assert len(first) > 25
    assert revisions(empty) == [HEAD]
    command.downgrade(config, "base")
    assert (revisions(empty), [line for line in schema(empty) if "alembic_version" not in line]) == ([], [])
    command.upgrade(config, "heads")
    assert schema(empty) == first


def test_both_drivers_make_the_same_schema(databases: Databases) -> None:
    made = [databases.empty(), databases.empty()]
    for url, driver in zip(made, ("asyncpg", "psycopg"), strict=True):
        command.upgrade(_silent(with_driver(url, driver)), "heads")
    assert schema(made[0]) == schema(made[1]) != []
    for url in made:
        databases.drop(url)


def test_each_phase_is_one_line() -> None:
    one_line_for_each_phase(SCRIPTS)


def test_the_models_are_what_the_migrations_make(scratch: URL) -> None:
    engine = create_engine(with_driver(scratch, "psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        config = _silent(scratch)
        config.attributes["connection"] = connection
        command.check(config)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users ALTER COLUMN full_name SET NOT NULL",
        "ALTER TABLE users ALTER COLUMN version TYPE bigint",
        "ALTER TABLE posts DROP COLUMN content",
        "ALTER TABLE posts ADD COLUMN summary text",
        "ALTER TABLE posts ALTER COLUMN version SET DEFAULT 1",
        "DROP INDEX ix_posts_id",
        "ALTER TABLE users DROP CONSTRAINT uq_users_email_key",
        "ALTER TABLE posts DROP CONSTRAINT fk_posts_author_id_users",
    ],
)
def test_a_schema_that_differs_from_the_models_is_found(scratch: URL, change: str) -> None:
    with connected(scratch) as connection:
        connection.execute(change.encode())
    with pytest.raises(Exception, match="New upgrade operations detected"):
        command.check(_silent(with_driver(scratch, "psycopg")))


def test_the_sql_for_a_database_administrator_makes_the_same_schema(empty: URL, scratch: URL) -> None:
    written = io.StringIO()
    config = configuration()
    config.output_buffer = written
    config.attributes["report"] = lambda _: None
    command.upgrade(config, "heads", sql=True)
    with connected(empty) as connection:
        for statement in split(written.getvalue()):  # as psql does: not all as one transaction
            connection.execute(statement.encode())
    assert schema(empty) == schema(scratch)
    assert revisions(empty) == revisions(scratch) == [HEAD]


async def test_one_migrates_at_a_time(empty: URL, driver: str) -> None:
    reported: list[str] = []
    with connected(empty) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        migrating = asyncio.create_task(asyncio.to_thread(upgrade, with_driver(empty, driver), reported.append))
        await until(lambda: migrating.done() or reported != [])
        assert reported == [f"another migration is under way (pid {other.info.backend_pid}): waiting for it"]
        assert (migrating.done(), schema(empty)) == (False, [])
        other.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        await migrating
        assert other.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone() == (True,)
    assert (len(reported) - 1, revisions(empty)) == (len(list(SCRIPTS.walk_revisions())), [HEAD])


@pytest.mark.parametrize("look", [command.current, command.check])
def test_who_only_looks_does_not_wait(scratch: URL, driver: str, look: Callable[[Config], None]) -> None:
    config = configuration(url=with_driver(scratch, driver))
    reported: list[str] = []
    config.attributes["report"] = reported.append
    with connected(scratch) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        look(config)
    assert reported == []


@pytest.mark.parametrize("change", [command.upgrade, command.downgrade, command.stamp])
def test_who_changes_something_does(scratch: URL, change: Callable[[Config, str], None]) -> None:
    config = configuration(url=scratch)
    with connected(scratch) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])

        def let_go(words: str) -> None:
            if "another migration is under way" in words:
                other.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
                said.append(words)

        said: list[str] = []
        config.attributes["report"] = let_go
        change(config, HEAD)
    assert len(said) == 1


def test_each_revision_is_reported_in_a_line(empty: URL) -> None:
    (line, *_) = migrate(empty)
    assert line == "applied revision ccc0279a8e0d: users and posts"
    assert migrate(empty) == []


def test_a_server_that_is_not_there(driver: str) -> None:
    url = URL.create(f"postgresql+{driver}", "x", database="x", query={"host": "/nowhere/at/all"})
    with pytest.raises(StorageUnavailableError):
        upgrade(url, print)


@pytest.mark.parametrize("name", ["50%", "a b", "%(here)s", "100%25"])
def test_a_database_whose_name_needs_escaping(databases: Databases, driver: str, name: str) -> None:
    name = f"{databases.empty().database}_{name}"
    with connected(databases.url) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.replace("%", "%%").encode(), [])
    url = databases.url.set(database=name)
    upgrade(with_driver(url, driver), lambda _: None)
    assert revisions(url) == [HEAD]
    databases.drop(url)
