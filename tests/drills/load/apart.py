"""A core for the load alone, so that what it asks for does not take away from what answers."""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.drills.drill import Stage
from tests.support.databases import connected


@contextmanager
def apart(stage: Stage) -> Iterator[Collection[int]]:
    """Have this process, and what it starts, on the last core, and PostgreSQL on the others, which are returned.

    Where there is but one core, or no way to choose (elsewhere than on Linux), all go on sharing, and none is returned.
    """
    if sys.platform != "linux" or len(cores := os.sched_getaffinity(0)) == 1:
        yield ()
        return
    last = max(cores)
    others = cores - {last}
    postmaster = _postmaster(stage)
    try:
        os.sched_setaffinity(0, {last})
        move(postmaster, others)
        yield others
    finally:
        os.sched_setaffinity(0, cores)
        move(postmaster, cores)


def move(pid: int, cores: Collection[int]) -> None:
    """Have a process, and what it starts from now on, on these cores, if there are any and it may be moved."""
    if sys.platform == "linux" and cores:
        with suppress(OSError):
            os.sched_setaffinity(pid, cores)


def _postmaster(stage: Stage) -> int:
    """Return the parent of a backend, -1 when the server is not on this machine."""
    with connected(stage.database) as connection:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        status = Path(f"/proc/{pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
    named = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return int(named["PPid"]) if named.get("Name") == "postgres" else -1
