"""Drills `database-restarts` and `database-killed`: an outage of PostgreSQL delays requests, and no request fails."""

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle

from tests.drills.faults.disposable_postgres import DisposablePostgres, disposable_postgres
from tests.drills.load.load_job import Attempt, LoadJob
from tests.drills.load.load_runner import ENDLESS, running_load
from tests.drills.load.workload import insert_seed_data
from tests.drills.scenario import (
    Scenario,
    ScenarioContext,
    ScenarioError,
    ScenarioResult,
    ScenarioSize,
    Verification,
    verify,
)
from tests.drills.service_under_test import target
from tests.drills.verifications import (
    FaultTimeline,
    answered,
    nothing_lost,
    outcome,
    responses_match_requests,
    succeeded,
)

RATE = 30.0
"""So low that the requests of one outage are done before the next."""
PAUSE_SECONDS = (0.8, 2.2)
"""Shortest and longest time between two outages, in seconds."""
OUTAGE = 5.0
"""Longest outage that a request survives, in seconds from the fault until the server accepts connections.

On a busy machine the server may take longer to start. The checks skip requests that met a longer outage.
"""
MARGIN = 1.3
MAX_DOWNTIME_SHARE = 0.8
"""Share of the size's seconds that the longest outage must last."""
MAX_RECOVERY_SECONDS = 2.0
"""Seconds that a request may take in addition to outages: it waits behind the requests of the outage."""
LONG_ONES = 3
"""Number of last outages with full length; at least one of each kind."""

Fault = Callable[[DisposablePostgres, float], None]


def _restarted(postgres: DisposablePostgres, _seconds: float) -> None:
    postgres.stop()
    postgres.start()


def _crashed(postgres: DisposablePostgres, _seconds: float) -> None:
    postgres.crash()
    postgres.start()


def _terminated(postgres: DisposablePostgres, _seconds: float) -> None:
    if not postgres.terminate_backends():
        raise ScenarioError("the service has no session to terminate")


def _away(postgres: DisposablePostgres, seconds: float) -> None:
    postgres.stop()
    _stay_away(postgres, seconds)
    postgres.start()


def _killed(postgres: DisposablePostgres, seconds: float) -> None:
    postgres.kill()
    _stay_away(postgres, seconds)
    postgres.start()


def _stay_away(postgres: DisposablePostgres, seconds: float) -> None:
    """Wait for that time minus the time of a start, and for most of it at least."""
    time.sleep(max(MAX_DOWNTIME_SHARE * seconds, seconds - MARGIN * postgres.start_seconds))


RESTARTS: Sequence[tuple[str, Fault]] = (
    ("restart", _restarted),
    ("immediate shutdown", _crashed),
    ("backends terminated", _terminated),
    ("refused connections", _away),
)
KILLS: Sequence[tuple[str, Fault]] = (("kill -9 of PostgreSQL", _killed),)


def run(stage: ScenarioContext, kinds: Sequence[tuple[str, Fault]]) -> ScenarioResult:
    """Inject each kind of outage in turn under load, `size.times` times."""
    faults = FaultTimeline()
    with disposable_postgres(stage.directory) as postgres:
        with target(stage, postgres.url(stage.driver)) as service:
            seeds = insert_seed_data(service.job())
            job = service.job(seeds.weighted_mix(), rate=RATE, seconds=ENDLESS)
            attempts = _attempts(stage, job, postgres, kinds, faults)
        claimed = faults.without(attempts, longer_than=OUTAGE)
        checks = [
            _outages(faults, stage.size, attempts),
            succeeded(claimed),
            answered(claimed),
            responses_match_requests(attempts),
            *nothing_lost(attempts, postgres.url(), seeds),
            *postgres.verify_integrity(),
            _slowest(claimed, faults, stage.size.bound(MAX_RECOVERY_SECONDS)),
        ]
    return outcome(checks, attempts, faults.marks(attempts))


def _attempts(
    stage: ScenarioContext,
    job: LoadJob,
    postgres: DisposablePostgres,
    kinds: Sequence[tuple[str, Fault]],
    faults: FaultTimeline,
) -> Sequence[Attempt]:
    chance = random.Random(stage.seed)  # noqa: S311 - the same outages for the same seed
    with running_load(job) as load:
        for number, (label, fault) in zip(range(stage.size.times), cycle(kinds), strict=False):
            time.sleep(chance.uniform(*PAUSE_SECONDS))
            is_long = number >= stage.size.times - max(LONG_ONES, len(kinds))
            seconds = stage.size.seconds * (1.0 if is_long else chance.random())
            with faults.during(label):
                fault(postgres, seconds)
            stage.progress(number + 1, stage.size.times)
        time.sleep(PAUSE_SECONDS[0])
        return load.finish()


def _outages(faults: FaultTimeline, size: ScenarioSize, attempts: Sequence[Attempt]) -> Verification:
    """Check the number of outages, that requests met each, and that one lasted almost `size.seconds`."""
    lengths = [end - start for _, start, end in faults.moments]
    judged = [length for length in lengths if length <= OUTAGE]
    longest = max(judged, default=0.0)
    figure = f"{len(lengths)} outages, the longest {longest:.1f} s"
    if longer := len(lengths) - len(judged):
        figure += f"; {longer} took too long, and the checks skip requests that met them"
    wrong = faults.faults_without_requests(attempts)
    if len(lengths) != size.times:
        wrong.append(f"expected {size.times} outages")
    if longest < MAX_DOWNTIME_SHARE * size.seconds:
        wrong.append(f"the longest valid outage takes {longest:.1f} s")
    return verify(f"outages of up to {size.seconds:g} s occur", figure, wrong)


def _slowest(attempts: Sequence[Attempt], faults: FaultTimeline, bound: float) -> Verification:
    slowest = max((faults.time_outside_faults(one) for one in attempts), default=float("inf"))
    figure = f"the slowest took {slowest:.1f} s more"
    return verify(f"a request takes at most {bound:g} s more than the outages it met", figure, slowest <= bound)


DATABASE_RESTARTS = Scenario(
    name="database-restarts",
    claim="Restarts, immediate shutdowns, terminated backends and refused connections fail no request of 20 clients.",
    run=lambda stage: run(stage, RESTARTS),
    full=ScenarioSize(times=40, seconds=OUTAGE),
    quick=ScenarioSize(times=4, seconds=1.0, hang_seconds=20.0, patient=True),
)
DATABASE_KILLED = Scenario(
    name="database-killed",
    claim="kill -9 of every process of PostgreSQL fails no request of 20 clients and loses no acknowledged write.",
    run=lambda stage: run(stage, KILLS),
    full=ScenarioSize(times=50, seconds=OUTAGE),
    quick=ScenarioSize(times=2, seconds=1.0, hang_seconds=20.0, patient=True),
)
