"""PostgreSQL's log: two files of bounded size."""

import os
import shutil
from pathlib import Path

from adapters.embedded.file_locks import open_private
from adapters.embedded.paths import Paths

MAX_LOG_BYTES = 16 * 1024 * 1024
DISK_FULL_MARGIN_BYTES = 16 * 1024 * 1024  # PostgreSQL writes its journal in files of this size


def rotate_log(paths: Paths) -> int:
    """Put the last log aside and returns the descriptor of a new one, which writes always append to."""
    if paths.log.exists():
        paths.log.replace(paths.previous_log)
    return open_private(paths.log, os.O_WRONLY | os.O_APPEND)


def log_size(paths: Paths) -> int:
    """Return the size of the log in bytes, 0 when somebody deleted it."""
    try:
        return paths.log.stat().st_size
    except FileNotFoundError:
        return 0


def limit_log(paths: Paths) -> None:
    """Put a log that has grown large aside, by a copy, because the server writes to the file it was given."""
    if log_size(paths) > MAX_LOG_BYTES:
        paths.previous_log.unlink(missing_ok=True)
        shutil.copyfile(paths.log, paths.previous_log, follow_symlinks=False)
        os.truncate(paths.log, 0)


def last_log_errors(paths: Paths, *, since: int = 0) -> str:
    """Return the last lines of PostgreSQL's log from the position `since` on; a disk that is full is named first."""
    free = shutil.disk_usage(paths.directory).free
    full = f"Only {free // 1024} kB are free on its disk.\n" if free < DISK_FULL_MARGIN_BYTES else ""
    return full + last_lines(paths.log, since=since)


def last_lines(path: Path, *, since: int = 0, count: int = 5) -> str:
    """Return the last lines of a log, its errors if it has any, from the position `since` on."""
    try:
        with path.open("rb") as log:
            log.seek(since)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    marks = ("error:", "FATAL:", "PANIC:", "ERROR:")
    first = next((index for index, line in enumerate(lines) if any(mark in line for mark in marks)), None)
    chosen = lines[first:] if first is not None else lines
    return "\n".join(chosen[-count:] if first is None else chosen[:count])
