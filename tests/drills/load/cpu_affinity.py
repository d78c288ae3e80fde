"""CPU affinity: one core for the load generator, so that it takes no time from the service."""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.testing.template_databases import connected
from tests.drills.scenario import ScenarioContext


@contextmanager
def pin_load_to_last_core(stage: ScenarioContext) -> Iterator[Collection[int]]:
    """Run this process and its children on the last core, and PostgreSQL on the other cores, which are returned.

    With one core, or on another system than Linux, change nothing and return no core.
    """
    if sys.platform != "linux" or len(cores := os.sched_getaffinity(0)) == 1:
        yield ()
        return
    last = max(cores)
    others = cores - {last}
    postmaster = _postmaster(stage)
    try:
        os.sched_setaffinity(0, {last})
        set_affinity(postmaster, others)
        yield others
    finally:
        os.sched_setaffinity(0, cores)
        set_affinity(postmaster, cores)


def set_affinity(pid: int, cores: Collection[int]) -> None:
    """Run a process and its future children on these cores, if that is possible."""
    if sys.platform == "linux" and cores:
        with suppress(OSError):
            os.sched_setaffinity(pid, cores)


def _postmaster(stage: ScenarioContext) -> int:
    """Return the parent of a backend, or -1 if the server is on another machine."""
    with connected(stage.database) as connection:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        status = Path(f"/proc/{pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
    named = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return int(named["PPid"]) if named.get("Name") == "postgres" else -1
