"""Drills `database-restarts` and `database-killed`: an outage of PostgreSQL delays requests, and no request fails."""

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle

from adapters.database_url import DRIVERS
from tests.drills.faults.disposable_postgres import DisposablePostgres, disposable_postgres
from tests.drills.load.load_job import Attempt
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
from tests.drills.service_under_test import target, writes_waiting
from tests.drills.verifications import FaultTimeline, standard_checks

RATE = 30.0
"""So low that the requests of one outage are done before the next."""
PAUSE_SECONDS = (0.8, 2.2)
"""Shortest and longest time between two outages, in seconds."""
OUTAGE = 5.0
"""Longest outage that a request survives, in seconds from the fault until the server accepts connections.

On a busy machine the server may take longer to start. The checks skip requests that met a longer outage. The short
forms give the service longer time limits, so `hang_seconds` is their longest outage.
"""
MARGIN = 1.3
MAX_DOWNTIME_SHARE = 0.8
"""Share of the size's seconds that the longest outage must last."""
MAX_RECOVERY_SECONDS = 2.0
"""Seconds that a request may take in addition to outages: it waits behind the requests of the outage."""
LONG_ONES = 3
"""Number of last outages with full length; at least one of each kind."""

Fault = Callable[[DisposablePostgres, float], None]


def _down(harm: Callable[[DisposablePostgres], None], *, stays_down: bool = False) -> Fault:
    """Return a fault that stops the server by `harm`, and starts it at once or after the given time."""

    def fault(postgres: DisposablePostgres, seconds: float) -> None:
        harm(postgres)
        if stays_down:  # the start takes a part of the time; the server is down for MAX_DOWNTIME_SHARE of it
            time.sleep(max(MAX_DOWNTIME_SHARE * seconds, seconds - MARGIN * postgres.start_seconds))
        postgres.start()

    return fault


def _terminated(postgres: DisposablePostgres, _seconds: float) -> None:
    with writes_waiting(postgres.url()):  # a driver reports other errors for an idle connection
        _terminate_backends(postgres)


def _terminate_backends(postgres: DisposablePostgres) -> None:
    if not postgres.terminate_backends():
        raise ScenarioError("the service has no session to terminate")


RESTARTS: Sequence[tuple[str, Fault]] = (
    ("restart", _down(DisposablePostgres.stop)),
    ("immediate shutdown", _down(DisposablePostgres.crash)),
    ("backends terminated", _terminated),
    ("refused connections", _down(DisposablePostgres.stop, stays_down=True)),
)
KILLS: Sequence[tuple[str, Fault]] = (("kill -9 of PostgreSQL", _down(DisposablePostgres.kill, stays_down=True)),)


def run(stage: ScenarioContext, kinds: Sequence[tuple[str, Fault]]) -> ScenarioResult:
    """Inject each kind of outage in turn under load, `size.times` times."""
    size, chance = stage.size, random.Random(stage.seed)  # noqa: S311 - the same outages for the same seed
    faults = FaultTimeline()
    with disposable_postgres(stage.directory) as postgres:
        with target(stage, postgres.url(stage.driver)) as service:
            seeds = insert_seed_data(service.job())
            with running_load(service.job(seeds.weighted_mix(), rate=RATE, seconds=ENDLESS)) as load:
                for number, (label, fault) in zip(range(size.times), cycle(kinds), strict=False):
                    time.sleep(chance.uniform(*PAUSE_SECONDS))
                    is_long = number >= size.times - max(LONG_ONES, len(kinds))
                    with faults.during(label):
                        fault(postgres, size.seconds * (1.0 if is_long else chance.random()))
                    stage.progress(number + 1, size.times)
                time.sleep(PAUSE_SECONDS[0])
                attempts = load.finish()
        claimed = faults.without(attempts, longer_than=size.bound(OUTAGE))
        checks = [
            _outages(faults, size, attempts),
            *standard_checks(attempts, postgres.url(), seeds, claimed=claimed),
            *postgres.verify_integrity(),
            _slowest(claimed, faults, size.bound(MAX_RECOVERY_SECONDS)),
        ]
    return ScenarioResult(checks, attempts, faults.windows)


def _outages(faults: FaultTimeline, size: ScenarioSize, attempts: Sequence[Attempt]) -> Verification:
    """Check the number of outages, that requests met each, and that one lasted almost `size.seconds`."""
    lengths = [window.seconds for window in faults.windows]
    judged = [length for length in lengths if length <= size.bound(OUTAGE)]
    longest = max(judged, default=0.0)
    figure = f"{len(lengths)} outages, the longest {longest:.1f} s"
    if longer := len(lengths) - len(judged):
        figure += f"; {longer} took too long, and the checks skip requests that met them"
    wrong = faults.fault_errors(attempts, size.times)
    if longest < MAX_DOWNTIME_SHARE * size.seconds:
        wrong.append(f"the longest valid outage takes {longest:.1f} s")
    return verify(f"outages of up to {size.seconds:g} s occur", figure, wrong, is_key=True)


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
    # Both drivers: each has its own errors for lost and refused connections.
    drivers=DRIVERS,
)
DATABASE_KILLED = Scenario(
    name="database-killed",
    claim="kill -9 of every process of PostgreSQL fails no request of 20 clients and loses no acknowledged write.",
    run=lambda stage: run(stage, KILLS),
    full=ScenarioSize(times=50, seconds=OUTAGE),
    quick=ScenarioSize(times=2, seconds=1.0, hang_seconds=20.0, patient=True),
    # One driver: it sees the same errors as in `database-restarts`. The stored rows depend on PostgreSQL.
)
