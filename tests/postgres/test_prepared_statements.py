"""Tests for connections without prepared statements, as behind a pooler in transaction mode."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import URL

from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import Scope
from domain.posts import PostStatus
from tests.support.database_fixture import PATIENT, DatabaseFixture, opened
from tests.support.factories import a_request, stored_posts, stored_users
from tests.support.service_factories import key_service, post_service, user_service
from tests.support.use_case_runner import UseCaseRunner, fetch, record_statements

COUNT = "SELECT count(*) FROM pg_prepared_statements"
ONE = replace(PATIENT, pool_size=1)
either = pytest.mark.parametrize("prepared", [True, False])


async def _use(store: DatabaseFixture) -> None:
    users, posts, keys = user_service(store.storage), post_service(store.storage), key_service(store.storage)
    key = (await keys.create(SYSTEM_PRINCIPAL, name="key", scopes=[Scope.USERS_READ])).key
    for number in range(8):  # a driver may prepare a statement only after some executions
        request = a_request(key, key_hash=bytes([number]) * 32)
        user, _ = await users.create_once(SYSTEM_PRINCIPAL, request, email=f"ada{number}@example.org")
        await users.update(SYSTEM_PRINCIPAL, user.id, full_name="Ada")
        await users.list(SYSTEM_PRINCIPAL, limit=3, after=user.id, is_active=True)
        await users.list(SYSTEM_PRINCIPAL, limit=3, email=user.email)
        post = await posts.create(SYSTEM_PRINCIPAL, author_id=user.id, title="x", content="x")
        await posts.update(SYSTEM_PRINCIPAL, post.id, status=PostStatus.PUBLISHED)
        await posts.list(SYSTEM_PRINCIPAL, limit=3, author_id=user.id)
        if number % 2:
            await posts.delete(SYSTEM_PRINCIPAL, post.id)
            await users.delete(SYSTEM_PRINCIPAL, user.id)
    assert len(await stored_users(store.storage)) == len(await stored_posts(store.storage)) == 4


@either
async def test_prepared_statements_setting_is_applied(
    store: DatabaseFixture, driver: str, prepared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(store.url, driver, replace(ONE, prepared_statements=prepared)) as pool:
        sent = record_statements(pool.database, monkeypatch)
        await _use(pool)
        verbs = sent.take()
        ((number,),) = await UseCaseRunner(pool.storage).read(lambda work: fetch(work, COUNT))
    if prepared:
        assert number > 5
        assert verbs.count("BEGIN") == 8 + 4  # idempotent requests and deletions of users
    else:
        assert number == 0
        *transactions, rest = " ".join(verbs).split("COMMIT")
        assert rest == ""
        assert all(one.split()[0] == "BEGIN" and one.count("BEGIN") == 1 for one in transactions)
        assert len(transactions) > 50


@either
async def test_timestamps_are_utc_in_any_server_time_zone(scratch: URL, driver: str, prepared: bool) -> None:
    async with opened(scratch, driver, replace(ONE, prepared_statements=prepared)) as store:
        store.admin.execute(f"ALTER DATABASE {scratch.database} SET timezone = 'Asia/Kathmandu'")
        user = await user_service(store.storage).create(SYSTEM_PRINCIPAL, email="ada@example.org")
        read = await user_service(store.storage).get(SYSTEM_PRINCIPAL, user.id)
        assert (read, read.created_at.utcoffset()) == (user, timedelta(0))
