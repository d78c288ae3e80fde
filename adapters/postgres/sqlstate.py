"""Maps driver errors to port errors by SQLSTATE and constraint name, which are the same for both drivers.

SQLSTATE codes: PostgreSQL documentation, Appendix A.
"""

import sys
from collections.abc import Callable, Iterator, Mapping

import asyncpg

from adapters.postgres.server_failures import SERVER_FAILURES
from application.ports import (
    ConcurrentUpdateError,
    StorageBusyError,
    StorageFailedError,
    StorageUnavailableError,
    TransientStorageError,
)

ConstraintErrors = Mapping[str, Callable[[], Exception]]
"""The error that a violation of each constraint means, by the name of the constraint."""

NO_CONSTRAINTS: ConstraintErrors = {}
INTEGRITY_CONSTRAINT_VIOLATION = "23"
"""The class of violated constraints. The connection stays usable."""
# cannot_connect_now, idle_in_transaction_session_timeout, too_many_connections. Rejected connections:
# invalid_authorization_specification, invalid_password, invalid_catalog_name.
_TEMPORARY_REJECTIONS = frozenset({"57P03", "25P03", "53300", "28000", "28P01", "3D000"})
# After a failover to a standby: read_only_sql_transaction. insufficient_resources, disk_full, out_of_memory,
# configuration_limit_exceeded.
SERVER_REJECTIONS = _TEMPORARY_REJECTIONS | {"25006", "53000", "53100", "53200", "53400"}
"""With these, the server reports that it did not execute the statement."""
_PORT_ERRORS: Mapping[str, type[TransientStorageError]] = {
    "08": StorageUnavailableError,  # connection_exception
    "40001": ConcurrentUpdateError,  # serialization_failure
    "40P01": ConcurrentUpdateError,  # deadlock_detected
    "57014": StorageBusyError,  # query_canceled: statement_timeout, because of a lock or an overloaded server
    # statement_completion_unknown, admin_shutdown, crash_shutdown, idle_session_timeout
    **dict.fromkeys(_TEMPORARY_REJECTIONS | {"40003", "57P01", "57P02", "57P05"}, StorageUnavailableError),
    **dict.fromkeys(SERVER_FAILURES, StorageFailedError),
}
# "cached plan must not change result type", after a migration. The text depends on the language of the server.
_OUTDATED_PLAN = ("0A000", "RevalidateCachedQuery")


def to_port_error(
    error: BaseException, *, connection_lost: bool = False, constraints: ConstraintErrors = NO_CONSTRAINTS
) -> Exception | None:
    """Return the port error for an error of a driver or of the pool, None for an unexpected error.

    `connection_lost` is True if the connection is closed.
    """
    for cause in _causes(error):
        if (state := _sqlstate(cause)) is not None:
            port_error = _by_sqlstate(cause, state, constraints)
            return port_error() if port_error else None
        if isinstance(cause, OSError):
            return StorageUnavailableError()
        if connection_lost and isinstance(cause, driver_errors()):
            return StorageUnavailableError()
    return None


def driver_errors() -> tuple[type[Exception], ...]:
    """Return the errors without SQLSTATE of the loaded drivers.

    A process with asyncpg does not load psycopg, which would take 9 MB.
    """
    psycopg = sys.modules.get("psycopg")
    errors: tuple[type[Exception], ...] = (asyncpg.InterfaceError, asyncpg.InternalClientError)
    return errors if psycopg is None else (*errors, psycopg.Error)


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error or of its causes, None if the server did not send one."""
    return next((state for cause in _causes(error) if (state := _sqlstate(cause)) is not None), None)


def _by_sqlstate(error: BaseException, state: str, constraints: ConstraintErrors) -> Callable[[], Exception] | None:
    details = getattr(error, "diag", error)  # psycopg has a separate object for them
    function = getattr(details, "source_function", None) or getattr(details, "server_source_function", None)
    if (state, function) == _OUTDATED_PLAN:
        return TransientStorageError
    port_error = _PORT_ERRORS.get(state) or _PORT_ERRORS.get(state[:2])
    return port_error or constraints.get(getattr(details, "constraint_name", None) or "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. SQLAlchemy stores the driver error in `orig`."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = getattr(seen, "orig", None) or seen.__cause__


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None
