"""Tests for the statements that units of work send."""

from datetime import timedelta

import pytest

from application.authorization import SYSTEM_PRINCIPAL
from application.ports import UnitOfWork
from domain.posts import PostStatus
from tests.postgres.failures import CONNECTION_KEPT, KNOWN, OTHER, add_two
from tests.support import factories
from tests.support.database_fixture import DRIVERS, DatabaseFixture
from tests.support.factories import (
    CREATED,
    EXPIRES,
    a_request,
    make_api_key,
    make_idempotency_record,
    make_user,
    store_api_keys,
    store_users,
)
from tests.support.service_factories import post_service, user_service
from tests.support.use_case_runner import Body, Recorder, UseCaseRunner, record_statements

LATEST = """
    SELECT query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    ORDER BY query_start DESC LIMIT 1
"""
KEY = make_api_key()


@pytest.fixture
def driver() -> str:
    """The session chooses the statements, not the driver."""
    return "asyncpg"


@pytest.fixture
def sent(store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return record_statements(store.database, monkeypatch)


async def test_use_cases_send_few_statements(store: DatabaseFixture, sent: Recorder) -> None:
    users, posts = user_service(store.storage), post_service(store.storage)
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    assert sent.take() == ["INSERT"]
    await users.get(SYSTEM_PRINCIPAL, user.id)
    assert sent.take() == ["SELECT"]
    await users.list(SYSTEM_PRINCIPAL, limit=9)
    assert sent.take() == ["SELECT"]
    await users.update(SYSTEM_PRINCIPAL, user.id, full_name="Ada")
    assert sent.take() == ["SELECT", "UPDATE"]
    post = await posts.create(SYSTEM_PRINCIPAL, author_id=user.id, title="x", content="x")
    assert sent.take() == ["INSERT"]
    await posts.update(SYSTEM_PRINCIPAL, post.id, status=PostStatus.PUBLISHED)
    assert sent.take() == ["SELECT", "UPDATE"]
    await posts.delete(SYSTEM_PRINCIPAL, post.id)
    assert sent.take() == ["SELECT", "DELETE"]
    await users.delete(SYSTEM_PRINCIPAL, user.id)
    assert sent.take() == ["SELECT", "BEGIN", "SELECT", "WITH", "UPDATE", "COMMIT"]


async def test_idempotent_request_sends_single_transaction(store: DatabaseFixture, sent: Recorder) -> None:
    users = user_service(store.storage)
    await store_api_keys(store.storage, KEY)
    sent.take()
    await users.create_once(SYSTEM_PRINCIPAL, a_request(KEY), email="ada@example.org")
    assert "INTO idempotency_records" in sent.statements[1]
    assert sent.take() == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    await users.create_once(SYSTEM_PRINCIPAL, a_request(KEY), email="ada@example.org")
    assert sent.take() == ["BEGIN", "INSERT", "SELECT", "COMMIT"]


async def _write_between_reads(work: UnitOfWork) -> None:
    await work.users.find_by_email(KNOWN.email)
    await work.users.add(make_user())
    await work.users.get(KNOWN.id)
    await work.users.get(KNOWN.id)


UNITS_OF_WORK: dict[str, tuple[Body[object], list[str]]] = {
    "add key": (lambda work: work.api_keys.add(make_api_key()), ["INSERT"]),
    "get key": (lambda work: work.api_keys.get(KEY.id), ["SELECT"]),
    "now": (lambda work: work.api_keys.now(), ["SELECT"]),
    "get key with time": (lambda work: work.api_keys.get_with_time(KEY.id), ["SELECT"]),
    "set expiry": (lambda work: work.api_keys.set_expiry(KEY.id, at=CREATED), ["UPDATE"]),
    "revoke key": (lambda work: work.api_keys.revoke(KEY.id, now=EXPIRES), ["UPDATE"]),
    "record use": (lambda work: work.api_keys.record_use(KEY.id, now=EXPIRES), ["UPDATE"]),
    "add record": (lambda work: work.idempotency.add(make_idempotency_record(KEY)), ["BEGIN", "INSERT", "COMMIT"]),
    "purge": (lambda work: work.idempotency.purge(limit=9), ["BEGIN", "WITH", "COMMIT"]),
    "purge posts": (
        lambda work: work.posts.purge(status=PostStatus.DRAFT, unchanged_for=timedelta(), limit=9),
        ["BEGIN", "DELETE", "COMMIT"],
    ),
    "purge audit entries": (
        lambda work: work.audit.purge(older_than=timedelta(), limit=9),
        ["BEGIN", "WITH", "COMMIT"],
    ),
    "find expired user": (
        lambda work: work.users.find_expired(unchanged_for=timedelta()),
        ["BEGIN", "SELECT", "COMMIT"],
    ),
    "two writes": (add_two, ["BEGIN", "INSERT", "INSERT", "COMMIT"]),
    "write between reads": (_write_between_reads, ["SELECT", "BEGIN", "INSERT", "SELECT", "SELECT", "COMMIT"]),
}


@pytest.mark.parametrize(("body", "statements"), UNITS_OF_WORK.values(), ids=UNITS_OF_WORK)
async def test_unit_of_work_begins_transaction_for_second_statement(
    store: DatabaseFixture, sent: Recorder, body: Body[object], statements: list[str]
) -> None:
    await factories.store(store.storage, KNOWN, KEY)
    sent.take()
    await UseCaseRunner(store.storage).change(body)
    assert sent.take() == statements


@pytest.mark.parametrize(
    ("failure", "statements"),
    [
        ("error before the write is sent", ["SELECT"]),
        ("error after the write was sent", ["BEGIN", "INSERT", "SELECT", "ROLLBACK"]),
        ("update to duplicate e-mail in a transaction", ["BEGIN", "INSERT", "UPDATE", "ROLLBACK"]),
        ("stale version in a transaction", ["BEGIN", "INSERT", "UPDATE", "ROLLBACK"]),
    ],
)
async def test_failed_unit_of_work_rolls_back_sent_writes(
    store: DatabaseFixture, sent: Recorder, failure: str, statements: list[str]
) -> None:
    await store_users(store.storage, KNOWN, OTHER)
    sent.take()
    body, error = CONNECTION_KEPT[failure]
    with pytest.raises(error):
        async with store.storage.transaction() as work:
            await body(work)
    assert sent.take() == statements


@pytest.mark.parametrize("driver", DRIVERS)
async def test_single_write_is_the_last_statement_on_the_server(store: DatabaseFixture) -> None:
    await store_users(store.storage, make_user())
    (query,) = store.admin.execute(LATEST).fetchone() or ("",)
    assert "INSERT INTO users" in str(query)


async def test_empty_unit_of_work_uses_no_connection(store: DatabaseFixture, sent: Recorder) -> None:
    async with store.storage.transaction():
        assert store.checked_out == 0
    assert sent.take() == []
