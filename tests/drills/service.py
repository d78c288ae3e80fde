"""The service under a drill: a process on the drill's database, which a proxy may stand before."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from tests.cli.support import Served, rendered, serving
from tests.drills.drill import DrillError


def port(served: Served) -> int:
    """Return the port that it serves on, as soon as it does."""
    return int(served.base_url().rpartition(":")[2])


@contextmanager
def started(directory: Path, database: URL, **variables: str) -> Iterator[Served]:
    """Run the service on that database, and stop it in order at the end. Raises DrillError when it does not stop so."""
    with serving(directory, DATABASE_URL=rendered(database), **variables) as served:
        served.base_url()
        yield served
        if (status := served.stop(signal.SIGTERM)) != 0:
            raise DrillError(f"the service has ended with status {status}:\n{served.output[-2000:]}")
