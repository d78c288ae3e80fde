"""The log of PostgreSQL: a file for the current start, and a file for the previous one."""

import os

from adapters.embedded.file_locks import open_private
from adapters.embedded.paths import Paths

MAX_LOG_BYTES = 16 * 1024 * 1024
MAX_LINES = 5
ERROR_MARKS = ("error:", "FATAL:", "PANIC:", "ERROR:")


def rotate_log(paths: Paths) -> int:
    """Rename the log, and return the descriptor of a new one."""
    if paths.log.exists():
        paths.log.replace(paths.previous_log)
    return open_private(paths.log, os.O_WRONLY | os.O_APPEND)


def truncate_large_log(paths: Paths) -> None:
    """Truncate a log above the limit. The server would continue to write to a renamed one."""
    if paths.log.exists() and paths.log.stat().st_size > MAX_LOG_BYTES:
        os.truncate(paths.log, 0)


def last_log_errors(paths: Paths) -> str:
    """Return the lines of PostgreSQL's log from the first error on, or else its last lines."""
    lines = [line.strip() for line in paths.log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    first = next((index for index, line in enumerate(lines) if any(mark in line for mark in ERROR_MARKS)), -MAX_LINES)
    return "\n".join(lines[first:][:MAX_LINES])
