"""How many statements a unit of work sends: what is spared is a promise, too."""

import pytest

from application.access import OPERATOR
from application.idempotency import RepeatedError
from application.ports import ConcurrentChangeError, UnitOfWork
from domain.posts import PostStatus
from domain.users import EmailAlreadyRegisteredError
from tests.contract.test_outcomes import once
from tests.support.examples import (
    CREATED,
    EXPIRES,
    a_key,
    a_post,
    a_user,
    an_outcome,
    next_version,
    store_keys,
    store_outcomes,
    store_posts,
    store_users,
)
from tests.support.probes import Probe, recorded
from tests.support.services import post_service, user_service
from tests.support.stores import Store

LATEST = """
    SELECT query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
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


async def test_an_erasure_is_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    users = user_service(store.storage)
    user = await users.register(OPERATOR, email="ada@example.org")
    sent = recorded(store.database, monkeypatch)
    await users.erase(OPERATOR, user.id)
    assert sent.verbs == ["SELECT", "BEGIN", "DELETE", "UPDATE", "COMMIT"]


async def test_what_is_sent_for_a_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = a_key()
    sent = recorded(store.database, monkeypatch)
    await store_keys(store.storage, key)
    async with store.storage.readonly() as work:
        await work.keys.get(key.id)
    for change in (
        lambda work: work.keys.end(key.id, at=EXPIRES),
        lambda work: work.keys.revoke(key.id, now=EXPIRES),
        lambda work: work.keys.note_use(key.id, now=EXPIRES),
    ):
        await Probe(store.storage).change(change)
    assert sent.verbs == ["INSERT", "SELECT", "UPDATE", "UPDATE", "UPDATE"]


async def test_an_outcome_makes_a_transaction_of_the_effect(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = a_key()
    await store_keys(store.storage, key)
    users = user_service(store.storage)
    sent = recorded(store.database, monkeypatch)
    await users.register(OPERATOR, email="ada@example.org", once=once(key))
    assert sent.verbs == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    assert "INTO outcomes" in sent.statements[1]
    sent.statements.clear()
    with pytest.raises(RepeatedError):
        await users.register(OPERATOR, email="ada@example.org", once=once(key))
    assert sent.verbs == ["BEGIN", "INSERT", "SELECT", "ROLLBACK"]
    sent.statements.clear()
    await store_outcomes(store.storage, an_outcome(key))
    assert sent.verbs == ["INSERT"]
    sent.statements.clear()
    await Probe(store.storage).change(lambda work: work.outcomes.purge(now=CREATED, limit=9))
    assert sent.verbs == ["BEGIN", "WITH", "COMMIT"]


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
    post, key = a_post(user), a_key()
    await store_users(store.storage, user)
    await store_posts(store.storage, post)
    async with store.storage.transaction() as work:
        await work.users.get(user.id)
        await work.users.find_by_email(user.email)
        await work.users.list(limit=1, after=user.id, is_active=True)
        await work.posts.get(post.id, author_id=user.id, reader_id=user.id)
        await work.posts.list(limit=1, after=post.id, author_id=user.id, status=PostStatus.DRAFT, reader_id=user.id)
        await work.keys.add(key)
        await work.keys.get(key.id)
        await work.keys.list(limit=1, after=key.id)
        await work.outcomes.add(an_outcome(key))
        await work.outcomes.purge(now=CREATED, limit=1)
        await work.posts.update(next_version(post), publishes=True)
        await work.posts.remove(next_version(post))
        await work.users.remove(user)
    assert len(sent.statements) == 18
    assert not [statement for statement in sent.statements if "*" in statement]
