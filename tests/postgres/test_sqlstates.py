"""Tests for the mapping of SQLSTATE codes to port errors."""

import pytest

from application.ports import ConcurrentUpdateError, StorageBusyError, StorageUnavailableError
from tests.postgres.failures import ONCE
from tests.support.use_case_runner import UseCaseRunner, fetch

# `adapters.postgres.sqlstate` names the codes.
UNAVAILABLE = "57P01 57P02 57P03 57P05 25P03 53300 28000 28P01 3D000 25006 08000 08001 08003 08004 08006 08P01"
MAPPED = {
    "40001": ConcurrentUpdateError,
    "40P01": ConcurrentUpdateError,
    "57014": StorageBusyError,
    **dict.fromkeys(UNAVAILABLE.split(), StorageUnavailableError),
}
# Unsupported features (outside a cached plan), invalid values, unknown constraints, missing privileges, unknown tables
# and columns, a full disk, no memory, and errors of functions.
UNMAPPED = "0A000 22000 22003 22P02 23502 23503 23505 23514 40002 42501 42P01 42703 53100 53200 P0001 XX000"


@pytest.mark.parametrize(("state", "error"), MAPPED.items())
async def test_sqlstate_maps_to_port_error_without_text(
    probe: UseCaseRunner, state: str, error: type[Exception]
) -> None:
    probe.retry = ONCE
    with pytest.raises(error) as raised:
        await probe.read(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (type(raised.value), str(raised.value), probe.attempts) == (error, "", 1)


@pytest.mark.parametrize("state", UNMAPPED.split())
async def test_unmapped_sqlstate_is_raised_unchanged_without_retry(probe: UseCaseRunner, state: str) -> None:
    with pytest.raises(Exception, match="secret of the database") as raised:
        await probe.change(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (raised.value.sqlstate, probe.attempts) == (state, 1)  # type: ignore[attr-defined]
