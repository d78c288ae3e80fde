"""Tests for the statements that units of work send."""

import pytest

from application.authorization import SYSTEM_PRINCIPAL
from application.ports import ConcurrentUpdateError, UnitOfWork
from domain.posts import PostStatus
from domain.users import EmailAlreadyRegisteredError
from tests.support.database_fixture import DRIVERS, DatabaseFixture
from tests.support.factories import (
    CREATED,
    EXPIRES,
    a_request,
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    next_version,
    store_api_keys,
    store_idempotency_records,
    store_posts,
    store_users,
)
from tests.support.service_factories import post_service, user_service
from tests.support.use_case_runner import Recorder, UseCaseRunner, record_statements

LATEST = """
    SELECT query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    ORDER BY query_start DESC LIMIT 1
"""


@pytest.fixture
def driver() -> str:
    """The session chooses the statements, not the driver."""
    return "asyncpg"


@pytest.fixture
def sent(store: DatabaseFixture, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return record_statements(store.database, monkeypatch)


async def test_user_operations_send_few_statements(store: DatabaseFixture, sent: Recorder) -> None:
    users = user_service(store.storage)
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    assert sent.take() == ["INSERT"]
    await users.get(SYSTEM_PRINCIPAL, user.id)
    assert sent.take() == ["SELECT"]
    await users.list(SYSTEM_PRINCIPAL, limit=9)
    assert sent.take() == ["SELECT"]
    await users.update(SYSTEM_PRINCIPAL, user.id, full_name="Ada")
    assert sent.take() == ["SELECT", "UPDATE"]
    await users.delete(SYSTEM_PRINCIPAL, user.id)
    assert sent.take() == ["SELECT", "BEGIN", "DELETE", "UPDATE", "COMMIT"]


async def test_post_operations_send_few_statements(store: DatabaseFixture, sent: Recorder) -> None:
    posts, author = post_service(store.storage), make_user()
    await store_users(store.storage, author)
    sent.take()
    post = await posts.create(SYSTEM_PRINCIPAL, author_id=author.id, title="x", content="x")
    assert sent.take() == ["INSERT"]
    await posts.update(SYSTEM_PRINCIPAL, post.id, status=PostStatus.PUBLISHED)
    assert sent.take() == ["SELECT", "UPDATE"]
    await posts.delete(SYSTEM_PRINCIPAL, post.id)
    assert sent.take() == ["SELECT", "DELETE"]


async def test_api_key_operations_send_single_statements(store: DatabaseFixture, sent: Recorder) -> None:
    key, probe = make_api_key(), UseCaseRunner(store.storage)
    await store_api_keys(store.storage, key)
    assert sent.take() == ["INSERT"]
    await probe.read(lambda work: work.api_keys.get(key.id))
    assert sent.take() == ["SELECT"]
    for change in (
        lambda work: work.api_keys.set_expiry(key.id, at=EXPIRES),
        lambda work: work.api_keys.revoke(key.id, now=EXPIRES),
        lambda work: work.api_keys.record_use(key.id, now=EXPIRES),
    ):
        await probe.change(change)
        assert sent.take() == ["UPDATE"]


async def test_idempotent_request_sends_single_transaction(store: DatabaseFixture, sent: Recorder) -> None:
    key = make_api_key()
    await store_api_keys(store.storage, key)
    users = user_service(store.storage)
    sent.take()
    await users.create_once(SYSTEM_PRINCIPAL, a_request(key), email="ada@example.org")
    assert "INTO idempotency_records" in sent.statements[1]
    assert sent.take() == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    await users.create_once(SYSTEM_PRINCIPAL, a_request(key), email="ada@example.org")
    assert sent.take() == ["BEGIN", "INSERT", "SELECT", "COMMIT"]
    await store_idempotency_records(store.storage, make_idempotency_record(key))
    assert sent.take() == ["BEGIN", "INSERT", "COMMIT"]
    await UseCaseRunner(store.storage).change(lambda work: work.idempotency.purge(now=CREATED, limit=9))
    assert sent.take() == ["BEGIN", "WITH", "COMMIT"]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_single_write_is_the_last_statement_on_the_server(store: DatabaseFixture) -> None:
    await user_service(store.storage).create(SYSTEM_PRINCIPAL, email="ada@example.org")
    (query,) = store.admin.execute(LATEST).fetchone() or ("",)
    assert str(query).startswith("INSERT INTO users")


async def test_two_writes_send_single_transaction(store: DatabaseFixture, sent: Recorder) -> None:
    await store_users(store.storage, make_user(), make_user())
    assert sent.take() == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


async def test_read_after_write_begins_transaction(store: DatabaseFixture, sent: Recorder) -> None:
    user = make_user()
    async with store.storage.transaction() as work:
        await work.users.find_by_email(user.email)
        await work.users.add(user)
        await work.users.get(user.id)
        await work.users.get(user.id)
    assert sent.take() == ["SELECT", "BEGIN", "INSERT", "SELECT", "SELECT", "COMMIT"]


async def test_empty_unit_of_work_uses_no_connection(store: DatabaseFixture, sent: Recorder) -> None:
    async with store.storage.transaction():
        assert store.checked_out == 0
    assert sent.take() == []


async def test_unsent_writes_need_no_rollback(store: DatabaseFixture, sent: Recorder) -> None:
    async def body(work: UnitOfWork) -> None:
        await work.users.add(make_user())
        raise KeyError

    with pytest.raises(KeyError):
        await UseCaseRunner(store.storage).change(body)
    assert sent.take() == []


async def test_failed_transaction_is_rolled_back(store: DatabaseFixture, sent: Recorder) -> None:
    user, other = make_user(), make_user()
    await store_users(store.storage, user, other)
    sent.take()
    with pytest.raises(EmailAlreadyRegisteredError):
        async with store.storage.transaction() as work:
            await work.users.add(make_user())
            await work.users.update(next_version(other, email=user.email))
    assert sent.take() == ["BEGIN", "INSERT", "UPDATE", "ROLLBACK"]
    with pytest.raises(ConcurrentUpdateError):
        async with store.storage.transaction() as work:
            await work.users.update(make_user(version=5))
            await work.users.list(limit=1)
    assert sent.take() == ["BEGIN", "UPDATE", "ROLLBACK"]


async def test_statements_name_their_columns(store: DatabaseFixture, sent: Recorder) -> None:
    user = make_user()
    post, key = make_post(user), make_api_key()
    await store_users(store.storage, user)
    await store_posts(store.storage, post)
    async with store.storage.transaction() as work:
        await work.users.get(user.id)
        await work.users.find_by_email(user.email)
        await work.users.list(limit=1, after=user.id, is_active=True)
        await work.posts.get(post.id, author_id=user.id, reader_id=user.id)
        await work.posts.list(limit=1, after=post.id, author_id=user.id, status=PostStatus.DRAFT, reader_id=user.id)
        await work.api_keys.add(key)
        await work.api_keys.get(key.id)
        await work.api_keys.list(limit=1, after=key.id)
        await work.idempotency.add(make_idempotency_record(key))
        await work.idempotency.purge(now=CREATED, limit=1)
        await work.posts.update(next_version(post), publishes=True)
        await work.posts.delete(next_version(post))
        await work.users.delete(user)
    assert len(sent.statements) == 18
    assert [statement for statement in sent.statements if "*" in statement] == []
