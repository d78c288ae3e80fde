"""Tests for the transactions of snapshots, and for the memory of an export."""

import asyncio
import os
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import text

from adapters.clock import new_id
from adapters.http.routers.user_export import export_document
from adapters.postgres.session import PgSnapshot
from adapters.testing.template_databases import Databases
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import StorageTimeoutError
from application.user_export import UserExportService
from domain.users import UserNotFoundError
from tests.drills.faults.processes import _resident_bytes
from tests.support.database_fixture import PATIENT, DatabaseFixture, checked_out, opened
from tests.support.factories import make_user
from tests.support.factories import store as store_entities
from tests.support.polling import wait_until
from tests.support.service_factories import LENIENT_RETRY
from tests.support.use_case_runner import backend, record_statements

SLEEP = text("SELECT pg_sleep(0.2)")
MANY_POSTS = """
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version,
        title_tokens, text_tokens)
    SELECT %s, gen_random_uuid(), 'title', repeat('content ', 200), 'published', now(), now(), now(), 1, 'a', 'a'
    FROM generate_series(1, 100000)
"""
MAX_GROWTH = 30 * 1024 * 1024


@pytest.mark.parametrize("prepared_statements", [True, False])
async def test_snapshot_reads_in_one_transaction(
    store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch, prepared_statements: bool
) -> None:
    options = replace(PATIENT, prepared_statements=prepared_statements)
    async with opened(store.url, store.database.driver.name, options) as fixture:
        recorder = record_statements(fixture.database, monkeypatch)
        async with fixture.storage.snapshot() as work:
            await work.users.list(limit=1)
            await work.posts.list(limit=1)
        assert recorder.statements[0].startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        assert ("set_config" in recorder.statements[0]) is not prepared_statements
        assert recorder.take() == ["BEGIN", "SELECT", "SELECT", "COMMIT"]
        with pytest.raises(UserNotFoundError):
            async with fixture.storage.snapshot() as work:
                await work.users.get(new_id())
        assert recorder.take() == ["BEGIN", "SELECT", "ROLLBACK"]
        assert checked_out(fixture.database) == 0


async def test_snapshot_time_limit_applies_to_each_statement(store: DatabaseFixture) -> None:
    options = replace(PATIENT, attempt_timeout=0.05)
    async with opened(store.url, store.database.driver.name, options) as fixture:
        while True:
            session = PgSnapshot(fixture.database)
            with suppress(StorageTimeoutError):  # a busy machine can need long for BEGIN
                await session.connect(asyncio.get_running_loop().time() + 60)
                break
            await session.end(commit=False)
        assert session._connection is not None
        await asyncio.sleep(0.1)
        assert not fixture.database.driver.is_closed(session._connection.driver_connection)
        with pytest.raises(StorageTimeoutError):
            await session.fetch(SLEEP, {})
        await session.end(commit=False)
        await wait_until(lambda: checked_out(fixture.database) == 0)


async def test_export_succeeds_after_the_loss_of_an_idle_connection(store: DatabaseFixture) -> None:
    async with opened(store.url, store.database.driver.name) as fixture:
        await store_entities(fixture.storage, user := make_user())
        async with fixture.storage.transaction() as work:
            pid = await backend(work)
        fixture.admin.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
        service = UserExportService(fixture.storage, LENIENT_RETRY)
        pages = [page async for page in service.export(SYSTEM_PRINCIPAL, user.id)]
        assert pages[0].entities == [user]


@pytest.mark.drill
async def test_export_of_100_000_posts_uses_constant_memory(databases: Databases, driver: str) -> None:
    url = databases.clone()
    async with opened(url, driver) as fixture:
        await store_entities(fixture.storage, user := make_user())
        fixture.admin.execute(MANY_POSTS, [user.id])
        service = UserExportService(fixture.storage)
        size, resident = 0, []
        async for part in export_document(service.export(SYSTEM_PRINCIPAL, user.id)):
            size += len(part)
            resident.append(_resident_bytes(os.getpid()))
    databases.drop(url)
    assert size > 100_000 * 1600
    assert max(resident) - resident[0] < MAX_GROWTH
