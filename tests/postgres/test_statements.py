"""How many statements a unit of work sends: what is spared is a promise, too."""

import pytest

from application.access import OPERATOR
from application.ports import ConcurrentChangeError, UnitOfWork
from domain.posts import PostStatus
from domain.users import EmailAlreadyRegisteredError
from tests.support.examples import a_post, a_user, next_version, store_posts, store_users
from tests.support.probes import Probe, recorded
from tests.support.services import post_service, user_service
from tests.support.stores import Store

LATEST = """
    SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    ORDER BY query_start DESC LIMIT 1
"""


async def test_a_readonly_use_case_sends_its_reads_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    user = a_user()
    await store_users(store.storage, user)
    sent = recorded(store.database, monkeypatch)
    await user_service(store.storage).get(OPERATOR, user.id)
    await user_service(store.storage).list(OPERATOR, limit=9)
    assert sent.verbs == ["SELECT", "SELECT"]


async def test_a_single_write_is_a_single_statement(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    users, posts = user_service(store.storage), post_service(store.storage)
    sent = recorded(store.database, monkeypatch)
    user = await users.register(OPERATOR, email="ada@example.org")
    assert sent.verbs == ["INSERT"]
    sent.statements.clear()
    await users.change(OPERATOR, user.id, full_name="Ada")
    assert sent.verbs == ["SELECT", "UPDATE"]
    sent.statements.clear()
    post = await posts.write(OPERATOR, author_id=user.id, title="x", content="x")
    assert sent.verbs == ["INSERT"]
    sent.statements.clear()
    await posts.revise(OPERATOR, post.id, status=PostStatus.PUBLISHED)
    assert sent.verbs == ["SELECT", "UPDATE"]
    sent.statements.clear()
    await posts.remove(OPERATOR, post.id)
    assert sent.verbs == ["SELECT", "DELETE"]


async def test_the_last_that_the_server_saw_of_a_single_write_is_the_write(store: Store) -> None:
    await user_service(store.storage).register(OPERATOR, email="ada@example.org")
    (query,) = store.admin.execute(LATEST).fetchone() or ("",)
    assert str(query).startswith("INSERT INTO users")


async def test_two_writes_are_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = recorded(store.database, monkeypatch)
    await store_users(store.storage, a_user(), a_user())
    assert sent.verbs == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


async def test_a_read_after_a_write_begins_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    user = a_user()
    sent = recorded(store.database, monkeypatch)
    async with store.storage.transaction() as work:
        await work.users.find_by_email(user.email)
        await work.users.add(user)
        await work.users.get(user.id)
        await work.users.get(user.id)
    assert sent.verbs == ["SELECT", "BEGIN", "INSERT", "SELECT", "SELECT", "COMMIT"]


async def test_nothing_to_do_asks_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = recorded(store.database, monkeypatch)
    async with store.storage.transaction():
        assert store.taken == 0
    assert sent.statements == []


async def test_what_is_not_sent_needs_no_rollback(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = recorded(store.database, monkeypatch)

    async def body(work: UnitOfWork) -> None:
        await work.users.add(a_user())
        raise KeyError

    with pytest.raises(KeyError):
        await Probe(store.storage).change(body)
    assert sent.statements == []


async def test_a_transaction_that_fails_is_rolled_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = a_user(), a_user()
    await store_users(store.storage, user, other)
    sent = recorded(store.database, monkeypatch)
    with pytest.raises(EmailAlreadyRegisteredError):
        async with store.storage.transaction() as work:
            await work.users.add(a_user())
            await work.users.update(next_version(other, email=user.email))
    with pytest.raises(ConcurrentChangeError):
        async with store.storage.transaction() as work:
            await work.users.update(a_user(version=5))
            await work.users.list(limit=1)
    assert sent.verbs == ["BEGIN", "INSERT", "UPDATE", "ROLLBACK", "BEGIN", "UPDATE", "ROLLBACK"]


async def test_no_statement_asks_for_columns_it_does_not_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = recorded(store.database, monkeypatch)
    user = a_user()
    post = a_post(user)
    await store_users(store.storage, user)
    await store_posts(store.storage, post)
    async with store.storage.transaction() as work:
        await work.users.get(user.id)
        await work.users.find_by_email(user.email)
        await work.users.list(limit=1, after=user.id, is_active=True)
        await work.posts.get(post.id)
        await work.posts.list(limit=1, after=post.id, author_id=user.id, status=PostStatus.DRAFT)
        await work.posts.update(next_version(post), publishes=True)
        await work.posts.remove(next_version(post))
        await work.users.remove(user)
    assert len(sent.statements) == 13
    assert not [statement for statement in sent.statements if "*" in statement]
