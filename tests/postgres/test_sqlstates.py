"""Tests for the mapping of SQLSTATE codes to port errors."""

import pytest

from application.ports import (
    ConcurrentUpdateError,
    StorageBusyError,
    StorageUnavailableError,
)
from application.transactions import RetryPolicy
from tests.support.use_case_runner import UseCaseRunner, fetch

MAPPED = {
    "40001": ConcurrentUpdateError,  # serialization_failure
    "40P01": ConcurrentUpdateError,  # deadlock_detected
    "57014": StorageBusyError,  # query_canceled
    "57P01": StorageUnavailableError,  # admin_shutdown
    "57P02": StorageUnavailableError,  # crash_shutdown
    "57P03": StorageUnavailableError,  # cannot_connect_now
    "57P05": StorageUnavailableError,  # idle_session_timeout
    "25P03": StorageUnavailableError,  # idle_in_transaction_session_timeout
    "53300": StorageUnavailableError,  # too_many_connections
    "28000": StorageUnavailableError,  # invalid_authorization_specification
    "28P01": StorageUnavailableError,  # invalid_password
    "3D000": StorageUnavailableError,  # invalid_catalog_name
    "25006": StorageUnavailableError,  # read_only_sql_transaction: a standby
    "08000": StorageUnavailableError,  # connection_exception
    "08001": StorageUnavailableError,
    "08003": StorageUnavailableError,
    "08004": StorageUnavailableError,
    "08006": StorageUnavailableError,
    "08P01": StorageUnavailableError,  # protocol_violation
}
UNMAPPED = [
    "0A000",  # feature_not_supported, not from a cached plan
    "22000",
    "22003",  # numeric_value_out_of_range
    "22P02",  # invalid_text_representation
    "23502",  # not_null_violation
    "23503",  # foreign_key_violation of an unknown constraint
    "23505",  # unique_violation of an unknown constraint
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


@pytest.mark.parametrize(("state", "error"), MAPPED.items())
async def test_sqlstate_maps_to_port_error_without_text(
    probe: UseCaseRunner, state: str, error: type[Exception]
) -> None:
    probe.retry = RetryPolicy(max_elapsed=0)
    with pytest.raises(error) as raised:
        await probe.read(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (type(raised.value), str(raised.value), probe.attempts) == (error, "", 1)


@pytest.mark.parametrize("state", UNMAPPED)
async def test_unmapped_sqlstate_is_raised_unchanged_without_retry(probe: UseCaseRunner, state: str) -> None:
    with pytest.raises(Exception, match="secret of the database") as raised:
        await probe.change(lambda work: fetch(work, "SELECT fail(:state)", state=state))
    assert (raised.value.sqlstate, probe.attempts) == (state, 1)  # type: ignore[attr-defined]
