"""Maps driver errors to port errors by SQLSTATE and constraint name, which are the same for both drivers.

SQLSTATE codes: PostgreSQL documentation, Appendix A.
"""

from collections.abc import Callable, Iterator, Mapping

import asyncpg
import psycopg

from application.ports import (
    ConcurrentUpdateError,
    StorageBusyError,
    StorageUnavailableError,
    TransientStorageError,
)

ConstraintErrors = Mapping[str, Callable[[], Exception]]
"""The error that a violation of each constraint means, by the name of the constraint."""

NO_CONSTRAINTS: ConstraintErrors = {}
_SERIALIZATION_ERRORS = {"40001", "40P01"}  # serialization_failure, deadlock_detected
# admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout, idle_in_transaction_session_timeout,
# too_many_connections. Rejected connections: invalid_authorization_specification, invalid_password,
# invalid_catalog_name. After a failover to a standby: read_only_sql_transaction.
_UNAVAILABLE = {"57P01", "57P02", "57P03", "57P05", "25P03", "53300", "28000", "28P01", "3D000", "25006"}
_SERVER_REJECTIONS = {"57P03", "25P03", "53300", "28000", "28P01", "3D000", "25006"}
_QUERY_CANCELED = "57014"  # statement_timeout, because of a lock or an overloaded server
_CONNECTION_EXCEPTION = "08"
# "cached plan must not change result type", after a migration. The text depends on the language of the server.
_OUTDATED_PLAN = ("0A000", "RevalidateCachedQuery")
_INTEGRITY_CONSTRAINT_VIOLATION = "23"


def to_port_error(
    error: BaseException, *, connection_lost: bool = False, constraints: ConstraintErrors = NO_CONSTRAINTS
) -> Exception | None:
    """Return the port error for an error of a driver or of the pool, None for an unexpected error.

    `connection_lost` is True if the connection is closed.
    """
    for cause in _causes(error):
        state = _sqlstate(cause)
        if state is not None:
            return _by_sqlstate(cause, state, constraints)
        if isinstance(cause, OSError):
            return StorageUnavailableError()
        if connection_lost and isinstance(cause, asyncpg.InterfaceError | asyncpg.InternalClientError | psycopg.Error):
            return StorageUnavailableError()
    return None


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error or of its causes, None if the server did not send one."""
    return next((state for cause in _causes(error) if (state := _sqlstate(cause)) is not None), None)


def is_integrity_error(error: BaseException) -> bool:
    """Return True if a constraint was violated. The connection stays usable."""
    return any((_sqlstate(cause) or "").startswith(_INTEGRITY_CONSTRAINT_VIOLATION) for cause in _causes(error))


def is_server_rejection(error: BaseException) -> bool:
    """Return True if the server reported that it did not execute the statement."""
    return any(_sqlstate(cause) in _SERVER_REJECTIONS for cause in _causes(error))


def _by_sqlstate(error: BaseException, state: str, constraints: ConstraintErrors) -> Exception | None:
    if state in _SERIALIZATION_ERRORS:
        return ConcurrentUpdateError()
    if state in _UNAVAILABLE or state.startswith(_CONNECTION_EXCEPTION):
        return StorageUnavailableError()
    if state == _QUERY_CANCELED:
        return StorageBusyError()
    if (state, _detail(error, psycopg="source_function", asyncpg="server_source_function")) == _OUTDATED_PLAN:
        return TransientStorageError()
    meaning = constraints.get(_detail(error, psycopg="constraint_name", asyncpg="constraint_name") or "")
    return meaning() if meaning else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. SQLAlchemy stores the driver error in `orig`."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = getattr(seen, "orig", None) or seen.__cause__


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _detail(error: BaseException, *, psycopg: str, asyncpg: str) -> str | None:
    diagnostics = getattr(error, "diag", None)
    value = getattr(error, asyncpg, None) if diagnostics is None else getattr(diagnostics, psycopg, None)
    return value if isinstance(value, str) else None
