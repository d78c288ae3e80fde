"""Tests for port errors: their texts contain no text of the database."""

import pytest
from sqlalchemy import URL

from adapters.postgres.pool import Database, DatabaseOptions
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import StorageUnavailableError, TransientStorageError, UnitOfWork
from application.transactions import RetryPolicy
from domain.errors import DomainError
from tests.support.factories import make_post, make_user, next_version, store_users
from tests.support.use_case_runner import Body, UseCaseRunner, fetch

SECRETS = ["secret", "zo", "users", "posts", "uq_", "fk_", "duplicate", "violates", "INSERT", "SELECT", "hexapost", "/"]
KNOWN = make_user(email="zoe.secret@example.org")


def _secrets(error: BaseException) -> list[str]:
    text = f"{error} {error!r} {error.args}"
    return [secret for secret in SECRETS if secret.lower() in text.lower()]


async def _add_duplicate_email(work: UnitOfWork) -> None:
    await work.users.add(make_user(email=KNOWN.email))


async def _update_stale_version(work: UnitOfWork) -> None:
    await work.users.update(next_version(next_version(KNOWN)))


async def _add_post_without_author(work: UnitOfWork) -> None:
    await work.posts.add(make_post(make_user()))


async def _get_missing(work: UnitOfWork) -> None:
    await work.users.get(make_user().id)


async def _fail(work: UnitOfWork) -> None:
    await fetch(work, "SELECT fail('57P01')")


@pytest.mark.parametrize(
    "body", [_add_duplicate_email, _update_stale_version, _add_post_without_author, _get_missing, _fail]
)
async def test_port_errors_hide_database_messages(probe: UseCaseRunner, body: Body[None]) -> None:
    await store_users(probe.storage, KNOWN)
    probe.retry = RetryPolicy(max_elapsed=0)
    with pytest.raises((DomainError, TransientStorageError)) as raised:
        await probe.change(body)
    assert _secrets(raised.value) == []


async def test_port_errors_hide_database_address(driver: str) -> None:
    url = URL.create(f"postgresql+{driver}", "zoe", "secret", database="posts", query={"host": "/secret/hexapost"})
    database = Database(url, DatabaseOptions())
    with pytest.raises(StorageUnavailableError) as raised:
        await UseCaseRunner(SqlAlchemyStorage(database), retry=RetryPolicy(max_elapsed=0)).read(_get_missing)
    assert _secrets(raised.value) == []
    await database.close()
