"""Reasons of failed connections, without text of the server, the role or the password."""

import re
from collections.abc import Sequence

import asyncpg

from adapters.database_url import Host
from adapters.postgres.sqlstate import driver_errors, sqlstate_of
from application.ports import StorageUnavailableError

# psycopg has no SQLSTATE for them, so the text is compared too. It is English unless lc_messages differs.
_REASONS = (
    ("42704", r"unrecognized configuration parameter", "options has an unknown setting"),
    ("22023", r"invalid value for parameter", "options has an invalid value"),
    ("55000", r"not currently accepting", "database accepts no connections"),
    ("28P01", r"password authentication failed|no password supplied", "wrong user or password"),
    ("28000", r"pg_hba\.conf|role .* (does not exist|not permitted)", "role unknown or not allowed by pg_hba.conf"),
    ("3D000", r"database .* does not exist", "database does not exist"),
    ("42501", r"permission denied for database", "missing privilege CONNECT on the database"),
    ("53300", r"too many (connections|clients)|connection slots are reserved", "too many connections"),
    ("57P03", r"system is (starting|shutting)|not (yet )?accepting|recovery mode", "server is starting or stopping"),
    ("08P01", r"startup parameter", "the pooler requires HEXAPOST_DB_PREPARED_STATEMENTS=false"),
    (None, r"failed to resolve|not translate host|Name or service|failure in name|No address|nodename", "unknown host"),
    (None, r"Connect call failed|Connection refused", "connection refused"),
    (None, r"(Network|Host) is unreachable|No route to host", "network unreachable"),
    (None, r"No such file", "socket does not exist"),
    (
        None,
        r"root certificate file|no certificate|NO_CERTIFICATE|PEM (lib|routines)",
        "a TLS file is missing or invalid: sslrootcert, sslcert, sslkey or sslcrl",
    ),
    (None, r"channel binding", "server does not support channel binding"),
    (None, r"certificate|hostname mismatch", "certificate is not trusted, or is for a different host"),
    (None, r"support SSL|SSL upgrade|(?i:wrong.version.number|response to SSL)", "server does not support TLS"),
    (None, r"session is read-only|target attribute|hot standby", "server is read-only"),
)


class ConnectError(StorageUnavailableError):
    """No server accepted a connection. The message has the address of each server and the reason."""

    def __init__(self, failures: Sequence[tuple[Host, BaseException]]) -> None:
        reasons = [(host, *_describe(error)) for host, error in failures]
        super().__init__("cannot connect to PostgreSQL at " + "; ".join(f"{host}: {text}" for host, text, _ in reasons))
        _, self.reason, self.sqlstate = reasons[-1]
        self.is_timeout = _is_timeout(failures[-1][1])


def connect_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a connection that cannot be opened. `OSError` includes `TimeoutError`."""
    return (OSError, asyncpg.PostgresError, *driver_errors())


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or type(error).__name__ == "ConnectionTimeout"  # of psycopg


def _describe(error: BaseException) -> tuple[str, str | None]:
    """Return the reason and the SQLSTATE of an error."""
    if _is_timeout(error):
        return "no response in time", None
    state = sqlstate_of(error)
    for known, pattern, reason in _REASONS:
        if known == state if state else re.search(pattern, str(error)):
            return f"{reason} (SQLSTATE {known})" if known else reason, known
    return f"rejected (SQLSTATE {state})" if state else f"failed ({type(error).__name__})", state
