"""Which errors of the server are tried again, and which are shown at once."""

import pytest

from application.ports import (
    ConcurrentChangeError,
    StorageOverloadedError,
    StorageUnavailableError,
    TransientError,
    UnitOfWork,
)
from application.transactions import Retry
from tests.support.probes import Probe, fetch

PASSING = {
    "40001": ConcurrentChangeError,  # serialization_failure
    "40P01": ConcurrentChangeError,  # deadlock_detected
    "57P01": StorageUnavailableError,  # admin_shutdown
    "57P02": StorageUnavailableError,  # crash_shutdown
    "57P03": StorageUnavailableError,  # cannot_connect_now
    "57P05": StorageUnavailableError,  # idle_session_timeout
    "25P03": StorageUnavailableError,  # idle_in_transaction_session_timeout
    "53300": StorageUnavailableError,  # too_many_connections
    "25006": StorageUnavailableError,  # read_only_sql_transaction: it is a standby now
    "08000": StorageUnavailableError,  # connection_exception
    "08001": StorageUnavailableError,
    "08003": StorageUnavailableError,
    "08004": StorageUnavailableError,
    "08006": StorageUnavailableError,
    "08P01": StorageUnavailableError,  # protocol_violation
}
LASTING = [
    "0A000",  # feature_not_supported, with no plan behind it
    "22000",
    "22003",  # numeric_value_out_of_range
    "22P02",  # invalid_text_representation
    "23502",  # not_null_violation
    "23503",  # foreign_key_violation of a constraint that nobody knows
    "23505",  # unique_violation of a constraint that nobody knows
    "23514",  # check_violation
    "40002",  # transaction_integrity_constraint_violation
    "42501",  # insufficient_privilege
    "42P01",  # undefined_table
    "42703",  # undefined_column
    "53100",  # disk_full
    "53200",  # out_of_memory
    "P0001",
    "XX000",
]


@pytest.mark.parametrize("state", PASSING)
@pytest.mark.parametrize("mode", ["change", "look"])
async def test_the_whole_use_case_is_run_again(probe: Probe, state: str, mode: str) -> None:
    async def body(work: UnitOfWork) -> int:
        await fetch(work, "SELECT 1")
        if probe.attempts == 1:
            await fetch(work, "SELECT fail(:state)", state=state)
        return probe.attempts

    assert await (probe.change(body) if mode == "change" else probe.look(body)) == 2


@pytest.mark.parametrize(("state", "kind"), PASSING.items())
async def test_what_does_not_pass_is_shown_in_the_words_of_the_port(
    probe: Probe, state: str, kind: type[TransientError]
) -> None:
    probe.retry = Retry(deadline=0)
    with pytest.raises(kind) as raised:
        await probe.look(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (type(raised.value), str(raised.value), probe.attempts) == (kind, "", 1)


async def test_what_took_too_long_is_not_tried_again(probe: Probe) -> None:
    with pytest.raises(StorageOverloadedError) as raised:
        await probe.change(lambda work: fetch(work, "SELECT fail('57014')"))  # query_canceled
    assert (str(raised.value), probe.attempts) == ("", 1)


@pytest.mark.parametrize("state", LASTING)
async def test_everything_else_is_raised_as_it_is_at_once(probe: Probe, state: str) -> None:
    with pytest.raises(Exception, match="secret of the database") as raised:
        await probe.change(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (raised.value.sqlstate, probe.attempts) == (state, 1)  # type: ignore[attr-defined]
