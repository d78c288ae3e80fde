"""The service under test: a process on the database of the drill, with or without a proxy between them."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL

from adapters.testing.template_databases import connected
from tests.cli.support import Served, create_api_key, rendered, serving, wait_until
from tests.drills.faults.proxy import HOST
from tests.drills.load.load_job import LoadJob, RequestSpec
from tests.drills.scenario import ScenarioContext, ScenarioError
from tests.observability.prometheus_samples import Scrape

CLIENTS = 20
ERRORS = "hexapost_db_errors_total"
_LIMITS = ("REQUEST", "DB_POOL", "DB_CONNECT", "DB_ATTEMPT", "DB_STATEMENT", "DB_IDLE_IN_TRANSACTION")
LONG_TIMEOUTS = {f"HEXAPOST_{name}_TIMEOUT_SECONDS": "60" for name in _LIMITS}
"""Time limits that a slow machine does not reach."""
_SESSIONS = """
SELECT state FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'hexapost' AND coalesce(wait_event_type, '') LIKE %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUnderTest:
    served: Served
    port: int
    key: str
    seed: str

    def job(self, operations: Sequence[RequestSpec] = (), *, clients: int = CLIENTS, **others: Any) -> LoadJob:
        return LoadJob(
            **{"port": self.port} | others,
            host=HOST,
            clients=clients,
            operations=operations,
            headers={"Authorization": f"Bearer {self.key}"},
            seed=self.seed,
        )


def variables_of(stage: ScenarioContext, database: URL, **variables: str) -> dict[str, str]:
    """Return the environment of a service: no rate limit, and long time limits if the size is patient."""
    limits = LONG_TIMEOUTS if stage.size.patient else {}
    return {"DATABASE_URL": rendered(database), "HEXAPOST_RATE_LIMIT": "none", **limits, **variables}


@contextmanager
def target(stage: ScenarioContext, database: URL, *arguments: str, **variables: str) -> Iterator[ServiceUnderTest]:
    """Run the service, and stop it at the end of the block. Raises ScenarioError if it does not stop with status 0."""
    variables = variables_of(stage, database, **variables)
    key = create_api_key(stage.directory, **variables)
    with serving(stage.directory, *arguments, **variables) as served:
        yield ServiceUnderTest(served=served, port=int(served.base_url().rpartition(":")[2]), key=key, seed=stage.seed)
        if (status := served.stop(signal.SIGTERM)) != 0:
            raise ScenarioError(f"the service exited with status {status}:\n{served.output[-2000:]}")


def errors(service: ServiceUnderTest, sqlstate: str) -> int:
    """Return the number of database errors with this SQLSTATE since the start of the service."""
    scrape = Scrape(service.served.get("/metrics", key=service.key).read().decode())
    return int(sum(sample.value for sample in scrape.found(ERRORS, sqlstate=sqlstate)))


def sessions(database: URL, *, waiting_for: str = "%") -> list[str]:
    """Return the states of the service's database sessions, or of those that wait for this type of event."""
    with connected(database) as connection:
        return [str(state) for (state,) in connection.execute(_SESSIONS, [waiting_for])]


@contextmanager
def locked(database: URL, tables_and_mode: str) -> Iterator[None]:
    """Hold a table lock during the block."""
    with connected(database) as connection, connection.transaction():
        connection.execute(f"LOCK TABLE {tables_and_mode}".encode())
        yield


@contextmanager
def writes_waiting(database: URL) -> Iterator[None]:
    """Block writes during the block, which starts when one waits. Raises AssertionError if no write comes."""
    with locked(database, "users, posts IN SHARE ROW EXCLUSIVE MODE"):
        wait_until(lambda: sessions(database, waiting_for="Lock"))
        yield
