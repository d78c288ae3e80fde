"""Tests for settings of the server, the database or the role that could change results."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from psycopg.sql import SQL, Identifier, Literal

from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import Storage
from tests.support.database_fixture import PATIENT, DatabaseFixture
from tests.support.factories import (
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    next_version,
    replay_error,
    store_users,
    stored_api_keys,
    stored_posts,
    stored_users,
    update,
)
from tests.support.use_case_runner import UseCaseRunner, fetch

SETTINGS = {
    "array_nulls": "off",
    "backslash_quote": "on",
    "bytea_output": "escape",
    "check_function_bodies": "off",
    "client_encoding": "LATIN1",
    "client_min_messages": "debug5",
    "datestyle": "SQL, DMY",
    "default_text_search_config": "german",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "enable_indexscan": "off",
    "escape_string_warning": "on",
    "extra_float_digits": "-15",
    "gin_fuzzy_search_limit": "1",
    "intervalstyle": "sql_standard",
    "lc_messages": "C",
    "plan_cache_mode": "force_generic_plan",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "pg_catalog",
    "standard_conforming_strings": "off",
    "synchronous_commit": "off",
    "timezone": "Asia/Kathmandu",
    "transform_null_equals": "on",
    "work_mem": "64kB",
    "xmloption": "document",
}
TIMEOUTS = {
    "idle_in_transaction_session_timeout": "10min",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "10min",
}
either = pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "unprepared"])


@contextmanager
def database_setting(store: DatabaseFixture, name: str, value: str) -> Iterator[None]:
    """Set a setting for new connections to the database."""
    alter = SQL("ALTER DATABASE {} {} {}")
    database, setting = Identifier(str(store.url.database)), Identifier(name)
    store.admin.execute(alter.format(database, SQL("SET {} TO").format(setting), Literal(value)))
    try:
        yield
    finally:
        store.admin.execute(alter.format(database, SQL("RESET"), setting))


async def _use(storage: Storage) -> None:
    """Write and read entities through the repositories."""
    user, key = make_user(full_name="東京 Ω"), make_api_key()
    posts = [make_post(user, title="東京 launch") for _ in range(3)]
    record = make_idempotency_record(key)
    await store_users(storage, user, key, *posts, record)
    assert await replay_error(storage, record) == record
    changed = next_version(user, full_name=None)
    await update(storage, changed)
    assert await stored_users(storage) == [changed]
    assert await stored_posts(storage) == posts[::-1]
    assert await stored_api_keys(storage) == [key]
    async with storage.readonly() as work:
        hits = await work.posts.search({"launch"}, limit=9)
    assert [hit.post for hit in hits] == posts[::-1]


@either
@pytest.mark.parametrize("setting", SETTINGS.items(), ids=SETTINGS)
async def test_setting_of_database_does_not_change_results(
    store: DatabaseFixture, prepared: bool, setting: tuple[str, str]
) -> None:
    with database_setting(store, *setting):
        database = Database(store.url, replace(PATIENT, pool_size=1, prepared_statements=prepared))
        await _use(SqlAlchemyStorage(database))
        await database.close()


@either
@pytest.mark.parametrize("name", TIMEOUTS)
async def test_timeout_of_database_is_replaced(store: DatabaseFixture, prepared: bool, name: str) -> None:
    with database_setting(store, name, "599s"):
        database = Database(store.url, replace(PATIENT, pool_size=1, prepared_statements=prepared))
        shown = await UseCaseRunner(SqlAlchemyStorage(database)).read(lambda work: fetch(work, f"SHOW {name}"))
        await database.close()
    assert [tuple(row) for row in shown] == [(TIMEOUTS[name],)]


@either
async def test_isolation_of_database_is_replaced(store: DatabaseFixture, prepared: bool) -> None:
    with database_setting(store, "default_transaction_isolation", "serializable"):
        database = Database(store.url, replace(PATIENT, pool_size=1, prepared_statements=prepared))
        read = UseCaseRunner(SqlAlchemyStorage(database)).read
        shown = await read(lambda work: fetch(work, "SHOW transaction_isolation"))
        await database.close()
    assert [tuple(row) for row in shown] == [("read committed",)]
