"""The drill `service-killed`: what the service has acknowledged outlives it, and retries do nothing twice."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tests.cli.support import a_key, rendered, serving
from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.faults.ports import free_port
from tests.drills.faults.proxy import HOST
from tests.drills.ledger import Ledger, rows
from tests.drills.load.exchange import UNKNOWN
from tests.drills.load.jobs import Attempt, Job
from tests.drills.load.loading import loading
from tests.drills.load.mixture import only_writes, seeded
from tests.drills.service import limits, started
from tests.drills.verdicts import Faults, acknowledged, outcome, right, stored
from tests.support.databases import connected
from tests.support.stores import WAITING

CLIENTS = 20
RATE = 40.0
LONGEST_SECONDS = 3600.0
SETTLE_SECONDS = 120.0
PATIENCE_SECONDS = 60.0
PAUSES = (0.02, 0.2)
WAITING_SECONDS = 10.0
UP = (1.0, 2.5)
"""How long the service lives, in seconds: the shortest and the longest time."""


def run(stage: Stage) -> Outcome:
    """Kill the service as often as the size says, under load, and start it again."""
    faults, kills = Faults(), list[float]()
    job = Job(
        host=HOST,
        port=free_port(),
        clients=CLIENTS,
        operations=[],
        headers={"Authorization": f"Bearer {a_key(stage.directory, DATABASE_URL=rendered(stage.database))}"},
        seed=stage.seed,
    )
    database = stage.database.set(drivername=f"postgresql+{stage.driver}")
    with started(stage.directory, database, "--port", str(job.port), HEXAPOST_RATE_LIMIT="none", **limits(stage)):
        seeds = seeded(job)
    operations = seeds.mixture(reads=1, writes=1)
    job = replace(job, operations=operations, rate=RATE, seconds=LONGEST_SECONDS, patience=PATIENCE_SECONDS)
    attempts = _attempts(stage, replace(job, pauses=PAUSES), faults, kills)
    everything = Ledger.of(attempts, {})
    checks = [
        _kills(attempts, kills, faults, stage.size.times),
        acknowledged(everything, retries=len(attempts) - len(everything.last)),
        right(attempts),
        *stored(Ledger.of(only_writes(attempts), rows(stage.database)), known=seeds.names),
    ]
    return outcome(checks, attempts, faults.marks(attempts))


def _attempts(stage: Stage, job: Job, faults: Faults, kills: list[float]) -> Sequence[Attempt]:
    chance = random.Random(stage.seed)  # noqa: S311 - the same moments for the same seed
    arguments = "--port", str(job.port)
    variables = {
        "DATABASE_URL": rendered(stage.database.set(drivername=f"postgresql+{stage.driver}")),
        "HEXAPOST_RATE_LIMIT": "none",
        **limits(stage),
    }
    with loading(job) as load:
        for number in range(stage.size.times + 1):
            with ExitStack() as held, serving(stage.directory, *arguments, **variables) as served:
                with faults.during("the service is gone"):
                    served.base_url()
                time.sleep(chance.uniform(*UP))
                if number == stage.size.times:
                    return load.finish(SETTLE_SECONDS)
                if number % 2 == 0:  # at any moment, and in the middle of a write
                    held.enter_context(_writes_waiting(stage))
                kills.append(time.monotonic())
            stage.progress(number + 1, stage.size.times)
    raise AssertionError("the last one returns")


@contextmanager
def _writes_waiting(stage: Stage) -> Iterator[None]:
    """Have writes wait for a lock, as soon as one does and until the end of the block."""
    with connected(stage.database) as blocking, connected(stage.database) as looking, blocking.transaction():
        blocking.execute("LOCK TABLE users, posts IN SHARE ROW EXCLUSIVE MODE")
        deadline = time.monotonic() + WAITING_SECONDS
        while looking.execute(WAITING).fetchone() == (0,) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield


def _kills(attempts: Sequence[Attempt], kills: Sequence[float], faults: Faults, times: int) -> Check:
    """Return that requests were under way at half of the kills, or more: otherwise the drill shows little."""
    unknown = [one for one in attempts if one.outcome == UNKNOWN]
    met = sum(any(one.sent < kill <= one.done for one in unknown) for kill in kills)
    figure = f"{len(kills)} kills, requests under way at {met}, gone for up to {faults.longest:.1f} s"
    return expect("kill -9 of the service meets requests", figure, len(kills) == times and 2 * met >= times)


SERVICE_KILLED = Drill(
    name="service-killed",
    claim="kill -9 of the service loses nothing it has acknowledged; retries with Idempotency-Key store nothing twice.",
    run=run,
    full=Size(times=50),
    quick=Size(times=3, patient=True),
)
