"""The service under a drill: a process on the drill's database, which a proxy may stand before."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from tests.cli.support import Served, a_key, rendered, serving
from tests.drills.drill import DrillError, Stage
from tests.drills.faults.proxy import HOST
from tests.drills.load.jobs import Job, Operation
from tests.telemetry.scrapes import Scrape

ERRORS = "hexapost_database_errors_total"
_LIMITS = ("REQUEST", "POOL", "CONNECT", "ATTEMPT", "STATEMENT", "IDLE_IN_TRANSACTION")
UNHURRIED: Mapping[str, str] = {f"HEXAPOST_{name}_TIMEOUT_SECONDS": "60" for name in _LIMITS}
"""Limits that no stall of a machine reaches."""


def port(served: Served) -> int:
    """Return the port that it serves on, as soon as it does."""
    return int(served.base_url().rpartition(":")[2])


@contextmanager
def started(directory: Path, database: URL, *arguments: str, **variables: str) -> Iterator[Served]:
    """Run the service on that database, and stop it in order at the end. Raises DrillError when it does not stop so."""
    with serving(directory, *arguments, DATABASE_URL=rendered(database), **variables) as served:
        served.base_url()
        yield served
        if (status := served.stop(signal.SIGTERM)) != 0:
            raise DrillError(f"the service has ended with status {status}:\n{served.output[-2000:]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A service that runs, and the key that opens it."""

    served: Served
    port: int
    key: str
    seed: str

    def job(self, operations: Sequence[Operation], *, clients: int, **others: Any) -> Job:
        """Return a job for the load."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return Job(
            host=HOST,
            port=self.port,
            clients=clients,
            operations=operations,
            headers=headers,
            seed=self.seed,
            **others,
        )


def limits(stage: Stage) -> Mapping[str, str]:
    """Return the limits of the service that are not the usual ones."""
    return UNHURRIED if stage.size.patient else {}


@contextmanager
def target(stage: Stage, database: URL, *arguments: str, **variables: str) -> Iterator[Target]:
    """Run the service as `started` does, with a key and without a limit on what the key may ask.

    Its own limits are those of the size, but for the variables.
    """
    variables = {**limits(stage), **variables}
    key = a_key(stage.directory, DATABASE_URL=rendered(database), **variables)
    with started(stage.directory, database, *arguments, HEXAPOST_RATE_LIMIT="none", **variables) as served:
        yield Target(served=served, port=port(served), key=key, seed=stage.seed)


def errors(service: Target, sqlstate: str) -> int:
    """Return how many errors of the database with that SQLSTATE the service has met since it was started."""
    scrape = Scrape(service.served.get("/metrics", key=service.key).read().decode())
    return int(sum(sample.value for sample in scrape.found(ERRORS, sqlstate=sqlstate)))
