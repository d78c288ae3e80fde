"""The drills `database-restarts` and `database-killed`: an outage of PostgreSQL delays requests and fails none."""

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle

from tests.drills.drill import Check, Drill, DrillError, Outcome, Size, Stage, expect
from tests.drills.faults.own_postgres import OwnPostgres, own_postgres
from tests.drills.load.jobs import Attempt, Job
from tests.drills.load.loading import ENDLESS, loading
from tests.drills.load.mixture import seeded
from tests.drills.service import target
from tests.drills.verdicts import Faults, answered, kept, outcome, right, succeeded

RATE = 30.0
"""So low that the requests of one outage are done before the next."""
CALM = (0.8, 2.2)
"""Shortest and longest time between two outages, in seconds."""
OUTAGE = 5.0
"""Longest outage that a request survives, in seconds from the fault until the server accepts connections.

On a busy machine the server may take longer to start. The checks skip requests that met a longer outage.
"""
MARGIN = 1.3
MOST = 0.8
"""Share of the size's seconds that the longest outage must last."""
LATER = 2.0
"""Seconds that a request may take in addition to outages: it waits behind the requests of the outage."""
LONG_ONES = 3
"""Number of last outages with full length; at least one of each kind."""

Fault = Callable[[OwnPostgres, float], None]


def _restarted(postgres: OwnPostgres, _seconds: float) -> None:
    postgres.stop()
    postgres.start()


def _crashed(postgres: OwnPostgres, _seconds: float) -> None:
    postgres.crash()
    postgres.start()


def _terminated(postgres: OwnPostgres, _seconds: float) -> None:
    if not postgres.terminate_backends():
        raise DrillError("the service has no session to terminate")


def _away(postgres: OwnPostgres, seconds: float) -> None:
    postgres.stop()
    _stay_away(postgres, seconds)
    postgres.start()


def _killed(postgres: OwnPostgres, seconds: float) -> None:
    postgres.kill()
    _stay_away(postgres, seconds)
    postgres.start()


def _stay_away(postgres: OwnPostgres, seconds: float) -> None:
    """Wait for that time minus the time of a start, and for most of it at least."""
    time.sleep(max(MOST * seconds, seconds - MARGIN * postgres.start_seconds))


RESTARTS: Sequence[tuple[str, Fault]] = (
    ("restart", _restarted),
    ("immediate shutdown", _crashed),
    ("backends terminated", _terminated),
    ("refused connections", _away),
)
KILLS: Sequence[tuple[str, Fault]] = (("kill -9 of PostgreSQL", _killed),)


def run(stage: Stage, kinds: Sequence[tuple[str, Fault]]) -> Outcome:
    """Inject each kind of outage in turn under load, as often as the size says."""
    faults = Faults()
    with own_postgres(stage.directory) as postgres:
        with target(stage, postgres.url(stage.driver)) as service:
            seeds = seeded(service.job())
            job = service.job(seeds.mixture(), rate=RATE, seconds=ENDLESS)
            attempts = _attempts(stage, job, postgres, kinds, faults)
        claimed = faults.without(attempts, longer_than=OUTAGE)
        checks = [
            _outages(faults, stage.size, attempts),
            succeeded(claimed),
            answered(claimed),
            right(attempts),
            *kept(attempts, postgres.url(), seeds),
            *postgres.sound(),
            _slowest(claimed, faults, LATER * stage.size.slack),
        ]
    return outcome(checks, attempts, faults.marks(attempts))


def _attempts(
    stage: Stage, job: Job, postgres: OwnPostgres, kinds: Sequence[tuple[str, Fault]], faults: Faults
) -> Sequence[Attempt]:
    chance = random.Random(stage.seed)  # noqa: S311 - the same outages for the same seed
    with loading(job) as load:
        for number, (label, fault) in zip(range(stage.size.times), cycle(kinds), strict=False):
            time.sleep(chance.uniform(*CALM))
            is_long = number >= stage.size.times - max(LONG_ONES, len(kinds))
            seconds = stage.size.seconds * (1.0 if is_long else chance.random())
            with faults.during(label):
                fault(postgres, seconds)
            stage.progress(number + 1, stage.size.times)
        time.sleep(CALM[0])
        return load.finish()


def _outages(faults: Faults, size: Size, attempts: Sequence[Attempt]) -> Check:
    """Check the number of outages, that requests met each, and that one lasted almost as long as the size says."""
    lengths = [end - start for _, start, end in faults.moments]
    judged = [length for length in lengths if length <= OUTAGE]
    longest = max(judged, default=0.0)
    figure = f"{len(lengths)} outages, the longest {longest:.1f} s"
    if longer := len(lengths) - len(judged):
        figure += f"; {longer} took too long, and the checks skip requests that met them"
    wrong = faults.unmet(attempts)
    if len(lengths) != size.times:
        wrong.append(f"expected {size.times} outages")
    if longest < MOST * size.seconds:
        wrong.append(f"the longest valid outage takes {longest:.1f} s")
    return expect(f"outages of up to {size.seconds:g} s occur", figure, wrong)


def _slowest(attempts: Sequence[Attempt], faults: Faults, bound: float) -> Check:
    slowest = max((faults.beyond(one) for one in attempts), default=float("inf"))
    figure = f"the slowest took {slowest:.1f} s more"
    return expect(f"a request takes at most {bound:g} s more than the outages it met", figure, slowest <= bound)


DATABASE_RESTARTS = Drill(
    name="database-restarts",
    claim="Restarts, immediate shutdowns, terminated backends and refused connections fail no request of 20 clients.",
    run=lambda stage: run(stage, RESTARTS),
    full=Size(times=40, seconds=OUTAGE),
    quick=Size(times=4, seconds=1.0, slack=5.0, patient=True),
)
DATABASE_KILLED = Drill(
    name="database-killed",
    claim="kill -9 of every process of PostgreSQL fails no request of 20 clients and loses no acknowledged write.",
    run=lambda stage: run(stage, KILLS),
    full=Size(times=50, seconds=OUTAGE),
    quick=Size(times=2, seconds=1.0, slack=5.0, patient=True),
)
