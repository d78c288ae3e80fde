"""The drills `database-restarts` and `database-killed`: an outage of PostgreSQL is a pause, and nothing else."""

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle

from tests.drills.drill import Check, Drill, DrillError, Outcome, Size, Stage, expect
from tests.drills.faults.own_postgres import OwnPostgres, own_postgres
from tests.drills.load.jobs import Attempt, Job
from tests.drills.load.loading import loading
from tests.drills.load.mixture import seeded
from tests.drills.service import target
from tests.drills.verdicts import Faults, answered, kept, outcome, right, succeeded

CLIENTS = 20
RATE = 30.0
"""So many that what waited for the end of an outage is answered before the next one."""
LONGEST_SECONDS = 3600.0
SETTLE_SECONDS = 120.0
CALM = (0.8, 2.2)
"""The shortest and the longest time between two outages, in seconds."""
OUTAGE = 5.0
"""The longest outage that a request survives, from the fault until the server takes connections again.

Where the machine is so busy that the server takes longer to start, nothing is claimed of that outage.
"""
MARGIN = 1.3
MOST = 0.8
"""The share of that time which the longest outage has to last at least."""
LATER = 2.0
"""The seconds that a request may take beside the outages it met: what waited behind it has to be answered first."""
LONG_ONES = 3
"""How many of the last outages are as long as any may be, or one of each kind where there are more kinds."""

Fault = Callable[[OwnPostgres, float], None]


def _restarted(postgres: OwnPostgres, _seconds: float) -> None:
    postgres.stop()
    postgres.start()


def _crashed(postgres: OwnPostgres, _seconds: float) -> None:
    postgres.crash()
    postgres.start()


def _terminated(postgres: OwnPostgres, _seconds: float) -> None:
    if not postgres.terminate_backends():
        raise DrillError("the service has no session that could be terminated")


def _away(postgres: OwnPostgres, seconds: float) -> None:
    postgres.stop()
    _stay_away(postgres, seconds)
    postgres.start()


def _killed(postgres: OwnPostgres, seconds: float) -> None:
    postgres.kill()
    _stay_away(postgres, seconds)
    postgres.start()


def _stay_away(postgres: OwnPostgres, seconds: float) -> None:
    """Wait for as long as leaves time to start within that many seconds, and for most of them at least."""
    time.sleep(max(MOST * seconds, seconds - MARGIN * postgres.start_seconds))


RESTARTS: Sequence[tuple[str, Fault]] = (
    ("restart", _restarted),
    ("immediate shutdown", _crashed),
    ("backends terminated", _terminated),
    ("refused connections", _away),
)
KILLS: Sequence[tuple[str, Fault]] = (("kill -9 of PostgreSQL", _killed),)


def run(stage: Stage, kinds: Sequence[tuple[str, Fault]]) -> Outcome:
    """Have each kind of outage in turn, as often as the size says, under load."""
    faults = Faults()
    with own_postgres(stage.directory) as postgres:
        with target(stage, postgres.url(stage.driver)) as service:
            seeds = seeded(service.job([], clients=CLIENTS))
            mixture = seeds.mixture(reads=1, writes=1)
            job = service.job(mixture, clients=CLIENTS, rate=RATE, seconds=LONGEST_SECONDS)
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
            # The retries have to reach as far as any outage may.
            is_long = number >= stage.size.times - max(LONG_ONES, len(kinds))
            seconds = stage.size.seconds * (1.0 if is_long else chance.random())
            with faults.during(label):
                fault(postgres, seconds)
            stage.progress(number + 1, stage.size.times)
        time.sleep(CALM[1])
        return load.finish(SETTLE_SECONDS)


def _outages(faults: Faults, size: Size, attempts: Sequence[Attempt]) -> Check:
    """Return that there were as many, that requests met each, and that one lasted nearly as long as any was to."""
    lengths = [end - start for _, start, end in faults.moments]
    judged = [length for length in lengths if length <= OUTAGE]
    longest = max(judged, default=0.0)
    figure = f"{len(lengths)} outages, the longest {longest:.1f} s"
    if longer := len(lengths) - len(judged):
        figure += f"; {longer} took longer than was meant, and requests that met them are not judged"
    wrong = faults.unmet(attempts)
    if len(lengths) != size.times:
        wrong.append(f"{size.times} outages were meant")
    if longest < MOST * size.seconds:
        wrong.append(f"the longest that is judged takes {longest:.1f} s")
    return expect(f"there are outages of up to {size.seconds:g} s", figure, wrong)


def _slowest(attempts: Sequence[Attempt], faults: Faults, bound: float) -> Check:
    slowest = max((faults.beyond(one) for one in attempts), default=float("inf"))
    figure = f"the slowest took {slowest:.1f} s more"
    return expect(f"a request takes no longer than {bound:g} s more than the outages it met", figure, slowest <= bound)


DATABASE_RESTARTS = Drill(
    name="database-restarts",
    claim="Restarts, immediate shutdowns, terminated backends and refused connections fail no request of 20 clients.",
    run=lambda stage: run(stage, RESTARTS),
    full=Size(times=40, seconds=OUTAGE),
    quick=Size(times=4, seconds=1.5, slack=2.5, patient=True),
)
DATABASE_KILLED = Drill(
    name="database-killed",
    claim="kill -9 of every process of PostgreSQL fails no request of 20 clients and loses no acknowledged write.",
    run=lambda stage: run(stage, KILLS),
    full=Size(times=50, seconds=OUTAGE),
    quick=Size(times=2, seconds=1.0, slack=2.5, patient=True),
)
