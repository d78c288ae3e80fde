"""Tests for pooled connections after an error."""

from collections.abc import Awaitable, Callable

import pytest

from application.ports import ConcurrentUpdateError, StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from domain.users import EmailAlreadyRegisteredError, UserNotFoundError
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_user, next_version, store_users
from tests.support.polling import wait_until
from tests.support.use_case_runner import UseCaseRunner, backend, fetch

KNOWN, OTHER = make_user(), make_user()
Body = Callable[[UnitOfWork], Awaitable[None]]


class UnforeseenError(Exception):
    """Raised by a use case."""


async def _add_duplicate_email(work: UnitOfWork) -> None:
    await work.users.add(make_user(email=KNOWN.email))


async def _update_to_duplicate_email(work: UnitOfWork) -> None:
    await work.users.update(next_version(OTHER, email=KNOWN.email))


async def _update_to_duplicate_email_in_transaction(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await _update_to_duplicate_email(work)


async def _violate_check(work: UnitOfWork) -> None:
    await work.users.update(next_version(KNOWN, full_name="x" * 201))


async def _update_stale_version(work: UnitOfWork) -> None:
    await work.users.update(next_version(next_version(KNOWN)))


async def _update_stale_version_in_transaction(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await _update_stale_version(work)
    await work.users.list(limit=1)


async def _get_missing(work: UnitOfWork) -> None:
    await work.users.get(make_user().id)


async def _raise_after_sent_write(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await work.users.list(limit=1)
    raise UnforeseenError


async def _raise_before_sent_write(work: UnitOfWork) -> None:
    await work.users.list(limit=1)
    await work.users.add(make_user())
    raise UnforeseenError


async def _divide_by_zero(work: UnitOfWork) -> None:
    await fetch(work, "SELECT 1 / 0")


async def _divide_by_zero_in_transaction(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await fetch(work, "SELECT 1 / 0")


async def _select_missing_table(work: UnitOfWork) -> None:
    await fetch(work, "SELECT missing FROM missing")


async def _send_unsupported_value(work: UnitOfWork) -> None:
    await work.users.get(object())  # type: ignore[arg-type]


async def _terminate_backend(work: UnitOfWork) -> None:
    await fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())")


REUSED: list[tuple[Body, type[Exception]]] = [
    (_add_duplicate_email, EmailAlreadyRegisteredError),
    (_update_to_duplicate_email, EmailAlreadyRegisteredError),
    (_update_to_duplicate_email_in_transaction, EmailAlreadyRegisteredError),
    (_violate_check, Exception),
    (_update_stale_version, ConcurrentUpdateError),
    (_update_stale_version_in_transaction, ConcurrentUpdateError),
    (_get_missing, UserNotFoundError),
    (_raise_after_sent_write, UnforeseenError),
    (_raise_before_sent_write, UnforeseenError),
]
DISCARDED: list[tuple[Body, type[Exception]]] = [
    (_divide_by_zero, Exception),
    (_divide_by_zero_in_transaction, Exception),
    (_select_missing_table, Exception),
    (_send_unsupported_value, Exception),
    (_terminate_backend, StorageUnavailableError),
]


async def _fail(single: DatabaseFixture, body: Body, error: type[Exception]) -> tuple[int, int]:
    """Return the backend on which the body fails, and the backend of the next unit of work."""
    await store_users(single.storage, KNOWN, OTHER)
    pids: list[int] = []

    async def note_and_fail(work: UnitOfWork) -> None:
        pids.append(await backend(work))
        await body(work)

    with pytest.raises(error):
        await UseCaseRunner(single.storage, retry=RetryPolicy(max_elapsed=0)).change(note_and_fail)
    async with single.storage.readonly() as work:
        pids.append(await backend(work))
        assert await work.users.list(limit=9) == [OTHER, KNOWN]
    before, after = pids
    return before, after


@pytest.mark.parametrize(("body", "error"), REUSED)
async def test_pool_reuses_connection_after_expected_error(
    single: DatabaseFixture, body: Body, error: type[Exception]
) -> None:
    before, after = await _fail(single, body, error)
    assert after == before


@pytest.mark.parametrize(("body", "error"), DISCARDED)
async def test_pool_discards_connection_after_unexpected_error(
    single: DatabaseFixture, body: Body, error: type[Exception]
) -> None:
    before, after = await _fail(single, body, error)
    assert after != before
    await wait_until(lambda: single.has_ended(before))


async def test_rollback_on_lost_connection_keeps_original_error(single: DatabaseFixture) -> None:
    async def body(work: UnitOfWork) -> None:
        await work.users.add(make_user())
        pid = await backend(work)
        single.admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        await wait_until(lambda: single.has_ended(pid))
        raise UnforeseenError

    with pytest.raises(UnforeseenError):
        await UseCaseRunner(single.storage).change(body)
    async with single.storage.readonly() as work:
        assert await work.users.list(limit=9) == []
