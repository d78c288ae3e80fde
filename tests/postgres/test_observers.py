"""Tests for the observers of errors and of statements."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapters.postgres.pool import NO_SQLSTATE, Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.ports import StorageUnavailableError, UnitOfWork
from domain.users import EmailAlreadyRegisteredError
from tests.postgres.failures import KNOWN, ONCE
from tests.support.database_fixture import PATIENT, DatabaseFixture
from tests.support.factories import make_user, store_users
from tests.support.use_case_runner import UseCaseRunner, fetch, statement_verb


async def test_error_observer_gets_sqlstates(store: DatabaseFixture) -> None:
    observed: list[str] = []
    database = Database(store.url, PATIENT, errors=observed.append)
    probe = UseCaseRunner(SqlAlchemyStorage(database), retry=ONCE)
    await store_users(probe.storage, KNOWN)
    with pytest.raises(EmailAlreadyRegisteredError):  # without an error of the database
        await probe.change(lambda work: work.users.add(make_user(email=KNOWN.email)))
    with pytest.raises(Exception, match=r"pk_users|uq_users|already"):
        await probe.change(lambda work: fetch(work, "INSERT INTO users SELECT * FROM users RETURNING id"))
    with pytest.raises(StorageUnavailableError):
        await probe.change(lambda work: fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())"))
    with pytest.raises(Exception, match="division by zero"):
        await probe.read(lambda work: fetch(work, "SELECT 1 / 0"))
    # Whether the driver reads the server's last message or the end of the connection first is a race.
    assert observed in [["23505", ended, "22012"] for ended in ("57P01", "08003", NO_SQLSTATE)]
    await database.close()


async def test_statement_observer_gets_sql_without_values(store: DatabaseFixture) -> None:
    observed: list[str] = []

    @contextmanager
    def observe(sql: str) -> Iterator[None]:
        observed.append(sql)
        yield
        observed.append("done")

    database = Database(store.url, PATIENT, statements=observe)
    user = make_user(email="canary@example.org")

    async def add_and_get(work: UnitOfWork) -> None:
        await work.users.add(user)
        await work.users.get(user.id)

    await UseCaseRunner(SqlAlchemyStorage(database)).change(add_and_get)
    assert [statement_verb(sql) for sql in observed] == [
        verb for statement in ("BEGIN", "INSERT", "SELECT", "COMMIT") for verb in (statement, "done")
    ]
    assert "canary" not in str(observed)
    assert str(user.id) not in str(observed)
    await database.close()
