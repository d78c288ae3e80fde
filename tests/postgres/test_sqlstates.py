"""Tests for the mapping of SQLSTATE codes to port errors."""

from collections.abc import Callable
from time import monotonic

import pytest
from structlog.testing import capture_logs

from adapters.postgres.server_failures import FAILURE_SECONDS
from application.ports import (
    CommitFailedError,
    CommitResultUnknownError,
    ConcurrentUpdateError,
    StorageBusyError,
    StorageFailedError,
    StorageUnavailableError,
    UnitOfWork,
)
from tests.postgres.failures import ONCE
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_user, stored_users
from tests.support.use_case_runner import UseCaseRunner, fetch

# `adapters.postgres.sqlstate` names the codes.
UNAVAILABLE = "57P01 57P02 57P03 57P05 25P03 53300 28000 28P01 3D000 40003 08000 08001 08003 08004 08006 08007 08P01"
FAILED = "25006 53000 53100 53200 53400 57P04 58000 58030 58P01 58P02 XX000 XX001 XX002"
MAPPED = {
    "40001": ConcurrentUpdateError,
    "40P01": ConcurrentUpdateError,
    "57014": StorageBusyError,
    **dict.fromkeys(UNAVAILABLE.split(), StorageUnavailableError),
    **dict.fromkeys(FAILED.split(), StorageFailedError),
}
# Unsupported features (outside a cached plan), invalid values, unknown constraints, missing privileges, unknown tables
# and columns, and errors of functions.
UNMAPPED = "0A000 22000 22003 22P02 23502 23503 23505 23514 40002 42501 42P01 42703 P0001"


@pytest.fixture
def failing(probe: UseCaseRunner, single: DatabaseFixture) -> UseCaseRunner:
    """Use cases over a separate pool, because a pool remembers the failures of its server."""
    probe.storage = single.storage
    return probe


@pytest.mark.parametrize(("state", "error"), MAPPED.items())
async def test_sqlstate_maps_to_port_error_without_text(
    failing: UseCaseRunner, state: str, error: type[Exception]
) -> None:
    failing.retry = ONCE
    with pytest.raises(error) as raised:
        await failing.read(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (type(raised.value), str(raised.value), failing.attempts) == (error, "", 1)


@pytest.mark.parametrize("users", [1, 2])  # one is written without a transaction
@pytest.mark.parametrize(
    ("state", "error"),
    [
        *[(state, CommitFailedError) for state in ("XX000", "XX001", "57P04", "58030", "58P01")],
        *[(state, StorageFailedError) for state in ("25006", "53100", "53200")],
    ],
)
async def test_failed_server_is_not_retried_and_may_have_stored(
    single: DatabaseFixture, at_commit: Callable[[str], None], state: str, error: type[Exception], users: int
) -> None:
    at_commit(f"RAISE 'secret of the database' USING ERRCODE = '{state}';")
    runner = UseCaseRunner(single.storage)

    async def add_users(work: UnitOfWork) -> None:
        for _ in range(users):
            await work.users.add(make_user())

    with pytest.raises(StorageFailedError) as raised:
        await runner.change(add_users)
    assert (type(raised.value), runner.attempts) == (error, 1)
    at_commit("")
    user = make_user()
    await runner.change(lambda work: work.users.add(user))
    assert await stored_users(single.storage) == [user]


@pytest.mark.parametrize("state", ["40003", "08007"])
async def test_unknown_completion_is_retried(
    single: DatabaseFixture, at_commit: Callable[[str], None], state: str
) -> None:
    at_commit(f"RAISE 'no' USING ERRCODE = '{state}';")
    with pytest.raises(CommitResultUnknownError):
        await UseCaseRunner(single.storage, retry=ONCE).change(lambda work: work.users.add(make_user()))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("53100", "the disk of the server is full (SQLSTATE 53100)"),
        ("53200", "the server is out of memory (SQLSTATE 53200)"),
        ("57P04", "the database was dropped (SQLSTATE 57P04)"),
        ("58030", "the server has a system error (SQLSTATE 58030)"),
    ],
)
async def test_failure_of_all_writes_is_logged_once_and_kept(
    failing: UseCaseRunner, single: DatabaseFixture, state: str, reason: str
) -> None:
    failures, now = single.database.failures, monotonic()
    failures._clock = lambda: now
    with capture_logs() as events:
        for _ in range(2):
            with pytest.raises(StorageFailedError):
                await failing.read(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert events == [{"event": "database failed", "reason": reason, "log_level": "warning"}]
    assert failures.write_failure == reason
    now += FAILURE_SECONDS
    assert failures.write_failure is None


@pytest.mark.parametrize(
    ("state", "description"), [("25006", "the server is read-only"), ("XX001", "the server has an internal error")]
)
async def test_other_failure_of_the_server_is_only_logged(
    failing: UseCaseRunner, single: DatabaseFixture, state: str, description: str
) -> None:
    with capture_logs() as events, pytest.raises(StorageFailedError):
        await failing.read(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert [event["reason"] for event in events] == [f"{description} (SQLSTATE {state})"]
    assert single.database.failures.write_failure is None


@pytest.mark.parametrize("state", UNMAPPED.split())
async def test_unmapped_sqlstate_is_raised_unchanged_without_retry(probe: UseCaseRunner, state: str) -> None:
    with pytest.raises(Exception, match="secret of the database") as raised:
        await probe.change(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (raised.value.sqlstate, probe.attempts) == (state, 1)  # type: ignore[attr-defined]
