"""Tests for the migrations of the release."""

import asyncio

import pytest
from alembic import command
from pytest_alembic.tests import test_model_definitions_match_ddl, test_up_down_consistency, test_upgrade
from sqlalchemy import URL

from adapters.clock import new_id
from adapters.postgres.schema.upgrade import upgrade
from adapters.testing.template_databases import Databases, connected, migrate, with_driver
from application.ports import StorageUnavailableError
from domain.search_tokens import parse_query
from migrations.runner.alembic_config import alembic_config
from migrations.runner.revisions import Phase
from migrations.sql.parser import split_statements
from tests.migrations.revision_fixtures import EXPAND_HEAD, HEADS, RevisedDatabase, Revisions
from tests.support.database_fixture import opened
from tests.support.factories import make_post, make_user, next_version, store, stored_posts, stored_users, update
from tests.support.schema_dump import revisions, schema

__all__ = ["test_model_definitions_match_ddl", "test_up_down_consistency", "test_upgrade"]


def test_migrations_go_up_and_down_and_up_again(empty: URL, scratch: URL, driver: str) -> None:
    config = alembic_config(url=with_driver(empty, driver), report=lambda _: None)
    assert schema(empty) == []
    command.upgrade(config, "heads")
    upgrade(with_driver(scratch, driver), lambda _: None, Phase.CONTRACT)
    expected = schema(scratch)
    assert (schema(empty), revisions(empty)) == (expected, HEADS)
    assert len(expected) > 25
    command.downgrade(config, "base")
    assert (revisions(empty), [line for line in schema(empty) if "alembic_version" not in line]) == ([], [])
    command.upgrade(config, "heads")
    assert schema(empty) == expected
    assert migrate(empty) == []


async def test_database_with_integer_versions_stays_usable(scratch: URL, driver: str) -> None:
    with connected(scratch) as connection:
        for table in ("users", "posts"):
            connection.execute(f"ALTER TABLE {table} ALTER COLUMN version TYPE integer".encode())
        connection.execute("DROP TABLE audit_entries, erasure_receipts")
        connection.execute("UPDATE alembic_version SET version_num = 'c83e6b0d4f17'")
    await asyncio.to_thread(upgrade, with_driver(scratch, driver), lambda _: None)
    user = make_user()
    post = make_post(user)
    async with opened(scratch, driver) as fixture:
        await store(fixture.storage, user, post)
        await update(fixture.storage, next_version(user))
        await update(fixture.storage, next_version(post))
        assert await stored_users(fixture.storage) == [next_version(user)]
        assert await stored_posts(fixture.storage) == [next_version(post)]


FOUND_BY_PREVIOUS_RELEASE = "SELECT title FROM posts WHERE search_tokens(title || ' ' || content) @@ %s::tsquery"
INSERT_OF_PREVIOUS_RELEASE = """
    INSERT INTO posts (author_id, id, title, content, status, created_at, updated_at, version)
    VALUES (%s, %s, %s, %s, 'draft', now(), now(), 1)
"""


async def _found(database: RevisedDatabase, driver: str, query: str) -> list[str]:
    async with opened(database.url, driver) as fixture, fixture.storage.readonly() as work:
        return [hit.post.title for hit in await work.posts.search(parse_query(query), limit=9)]


async def test_search_tokens_are_complete_after_both_phases(database: RevisedDatabase, driver: str) -> None:
    user, title, content = make_user(), "\u6771\u4eac\u30bf\u30ef\u30fc", "Caf\u00e9 100\u20ac"
    async with opened(database.url, driver) as fixture:
        await store(fixture.storage, user)
    await asyncio.to_thread(database.downgrade, "f3b61a7d92c4")
    first, second, third = new_id(), new_id(), new_id()
    database.execute(INSERT_OF_PREVIOUS_RELEASE, user.id, first, title, content)
    await asyncio.to_thread(database.upgrade)
    assert [await _found(database, driver, query) for query in ("\u6771\u4eac", "cafe", "100")] == [[title]] * 3

    # Both releases serve: each finds the posts of the other one.
    database.execute(INSERT_OF_PREVIOUS_RELEASE, user.id, second, "\u6771\u4eac owl", content)
    database.execute(INSERT_OF_PREVIOUS_RELEASE, user.id, third, "\U0001f989", "\U0001f989")
    database.execute("UPDATE posts SET title = 'eagle', content = 'Owl' WHERE id = %s", first)
    assert await _found(database, driver, "OWL") == ["\u6771\u4eac owl", "eagle"]
    assert await _found(database, driver, "cafe") == ["\u6771\u4eac owl", "eagle"]  # the old text is found, too
    async with opened(database.url, driver) as fixture:
        await store(fixture.storage, make_post(user, title="new OWL", content="\u00c9"))
    assert database.execute(FOUND_BY_PREVIOUS_RELEASE, "'owl' & '\u00e9'") == [("new OWL",)]

    await asyncio.to_thread(database.upgrade, phase=Phase.CONTRACT)
    assert [await _found(database, driver, query) for query in ("owl", "\u6771", "cafe", "e", "\U0001f989")] == [
        ["new OWL", "\u6771\u4eac owl", "eagle"],
        ["\u6771\u4eac owl"],
        ["\u6771\u4eac owl"],
        ["new OWL"],
        [],
    ]
    assert database.execute("SELECT text_tokens FROM posts WHERE text_tokens @@ $$' '$$") == []


async def test_search_tokens_of_this_release_stay_in_an_update(database: RevisedDatabase, driver: str) -> None:
    user = make_user()
    post = make_post(user, title="caf\u00e9 \u6771\u4eac")
    async with opened(database.url, driver) as fixture:
        await store(fixture.storage, user, post)
        await update(fixture.storage, next_version(post, title="CAF\u00c9 \u6771\u4eac"))
    assert await _found(database, driver, "cafe \u4eac") == ["CAF\u00c9 \u6771\u4eac"]


DIFFERENCES = {  # the tests of the revision generator have more
    "ALTER TABLE users ALTER COLUMN version TYPE integer": "('modify_type', None, 'users', 'version'",
    "ALTER TABLE posts DROP COLUMN content": "('add_column', None, 'posts', Column('content'",
    "ALTER TABLE posts ADD COLUMN summary text": "('remove_column', None, 'posts', Column('summary'",
    "ALTER TABLE posts ALTER COLUMN version SET DEFAULT 1": "('modify_default', None, 'posts', 'version'",
}


def test_alembic_check_finds_each_difference(database: RevisedDatabase) -> None:
    database.upgrade(phase=Phase.CONTRACT)
    for statement in DIFFERENCES:
        database.execute(statement)
    with pytest.raises(Exception, match="New upgrade operations detected") as raised:
        command.check(database.config())
    assert [found for found in DIFFERENCES.values() if found not in str(raised.value)] == []


@pytest.mark.parametrize(("phase", "heads"), [(None, HEADS), (Phase.EXPAND, [EXPAND_HEAD])])
def test_migration_sql_makes_the_same_schema(
    databases: Databases, empty: URL, own: Revisions, phase: Phase | None, heads: list[str]
) -> None:
    with connected(empty) as connection:
        for statement in split_statements(own.sql(phase=phase)):  # like psql, not in one transaction
            connection.execute(statement.encode())
    migrated = databases.clone(phase)
    assert schema(empty) == schema(migrated)
    assert revisions(empty) == revisions(migrated) == heads
    databases.drop(migrated)


def test_upgrade_without_server_raises_unavailable_error(driver: str) -> None:
    url = URL.create(f"postgresql+{driver}", "x", database="x", query={"host": "/missing"})
    with pytest.raises(StorageUnavailableError):
        upgrade(url, print)


def test_upgrade_accepts_special_characters_in_database_name(databases: Databases, empty: URL, driver: str) -> None:
    name = f"{empty.database}_50% a b %(here)s 100%25"
    with connected(databases.url) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    url = databases.url.set(database=name)
    upgrade(with_driver(url, driver), lambda _: None)
    assert revisions(url) == HEADS
    databases.drop(url)
