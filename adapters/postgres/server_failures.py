"""Failures of the server that its statements do not cause, such as a full disk."""

import math
from collections.abc import Callable, Mapping

import structlog

FAILURE_SECONDS = 10.0
"""The time in seconds for which a failure of all writes makes the service not ready."""

SERVER_FAILURES: Mapping[str, str] = {
    "25006": "the server is read-only",
    "53": "the server lacks resources",
    "53100": "the disk of the server is full",
    "53200": "the server is out of memory",
    "57P04": "the database was dropped",
    "58": "the server has a system error",
    "XX": "the server has an internal error",
}
"""The description of each failure, by SQLSTATE or by its class."""
_ALL_WRITES_FAIL = frozenset({"53100", "53200", "57P04", "58030"})
"""The failures of more than one statement that the readiness query does not find. 58030 is io_error."""


class ServerFailures:
    """Logs the failures of a server, and keeps the last one. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = "", -math.inf

    def report(self, state: str) -> None:
        """Log a failure by its SQLSTATE, unless the last one was recent and the same, and keep it."""
        last, failed_at = self._last
        now = self._clock()
        if state != last or now - failed_at >= FAILURE_SECONDS:
            structlog.get_logger("hexapost").warning("database failed", reason=_describe(state))
        self._last = state, now

    @property
    def write_failure(self) -> str | None:
        """The reason why all writes failed in the last `FAILURE_SECONDS`, None without such a failure."""
        state, failed_at = self._last
        is_recent = self._clock() - failed_at < FAILURE_SECONDS
        return _describe(state) if is_recent and state in _ALL_WRITES_FAIL else None


def _describe(state: str) -> str:
    return f"{SERVER_FAILURES.get(state) or SERVER_FAILURES[state[:2]]} (SQLSTATE {state})"
