"""The drill `frozen-database`: an unresponsive PostgreSQL delays each request by a bounded time."""

import time
from collections.abc import Sequence
from dataclasses import replace

from adapters.database_url import DRIVERS
from tests.drills.faults.disposable_postgres import disposable_postgres
from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import Attempt
from tests.drills.load.load_runner import ENDLESS, running_load
from tests.drills.load.workload import insert_seed_data, reading
from tests.drills.reconciliation import describe
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import target
from tests.drills.verifications import FaultTimeline, answered, latency_below, nothing_lost, responses_match_requests

CLIENTS = 400
"""Enough that no request waits in the load generator."""
RATE, SHORT_RATE = 60.0, 20.0
"""Requests per second; fewer in the short form, so that a busy machine completes the delayed ones in time."""
LIVENESS_RATE = 40.0
CALM = 1.0
LIVENESS = 0.05
COST, MAX_COST_SHARE = 3.0, 2 / 3
"""Longest latency in seconds, and as a share of the fault: a request without a time limit waits for its end.

The short form allows more seconds, but not a larger share.
"""
BACK, SHORT_BACK = 2.0, 8.0
"""Seconds after which the service works as before; more in the short form."""


def run(stage: ScenarioContext) -> ScenarioResult:
    """Freeze every process of PostgreSQL `size.times` times for `size.seconds`."""
    faults, size = FaultTimeline(), stage.size
    back, rate = (SHORT_BACK, SHORT_RATE) if size.hang_seconds else (BACK, RATE)
    with disposable_postgres(stage.directory) as postgres:
        with target(stage, postgres.url(stage.driver)) as service:
            seeds = insert_seed_data(service.job())
            job = service.job(seeds.weighted_mix(), clients=CLIENTS, rate=rate, seconds=ENDLESS)
            alive = replace(job, operations=[reading("/livez", expects="ok")], clients=4, rate=LIVENESS_RATE)
            with running_load(job) as load, running_load(alive) as probes:
                for number in range(size.times):
                    time.sleep(CALM)
                    with faults.during("PostgreSQL is frozen"):
                        postgres.freeze()
                        time.sleep(size.seconds)
                        postgres.thaw()
                    time.sleep(back)
                    stage.progress(number + 1, size.times)
                time.sleep(CALM)
                attempts, probed = load.finish(), probes.finish()
        checks = [
            _bounded(attempts, _max_cost(size)),
            answered(attempts),
            _met(attempts, faults),
            _back(attempts, faults, back),
            latency_below("liveness responds meanwhile", probed, percent=99.0, seconds=size.bound(LIVENESS)),
            responses_match_requests(attempts),
            *nothing_lost(attempts, postgres.url(), seeds),
            *postgres.verify_integrity(),
        ]
    return ScenarioResult(checks, attempts, faults.windows)


def _max_cost(size: ScenarioSize) -> float:
    return min(size.bound(COST), MAX_COST_SHARE * size.seconds)


def _bounded(attempts: Sequence[Attempt], cost: float) -> Verification:
    slow = sorted((one for one in attempts if one.done - one.due > cost), key=lambda one: one.due - one.done)
    slowest = max(one.done - one.due for one in attempts)
    figure = f"the slowest of {len(attempts):,} took {slowest:.2f} s"
    reasons = [f"{len(slow):,} took longer", *map(describe, slow)] if slow else []
    return verify(f"a frozen database delays a request by at most {cost:g} s", figure, reasons, is_key=True)


def _met(attempts: Sequence[Attempt], faults: FaultTimeline) -> Verification:
    """Check that each fault prevented requests; otherwise the database was not frozen."""
    kept_off = [
        sum(window.start <= one.due < window.end and one.outcome != ACKNOWLEDGED for one in attempts)
        for window in faults.windows
    ]
    figure = f"{' and '.join(f'{count:,}' for count in kept_off)} requests are not acknowledged"
    return verify("requests meet the frozen database", figure, min(kept_off, default=0) > 0, is_key=True)


def _back(attempts: Sequence[Attempt], faults: FaultTimeline, back: float = BACK) -> Verification:
    """Check the requests that were due some time after a fault and done before the next one."""
    following = [window.start for window in faults.windows[1:]] + [float("inf")]
    calm = [
        [one for one in attempts if window.end + back <= one.due and one.done <= later]
        for window, later in zip(faults.windows, following, strict=False)
    ]
    wrong = [describe(one) for after in calm for one in after if one.outcome != ACKNOWLEDGED]
    wrong += [f"no request after fault {number}" for number, after in enumerate(calm, 1) if not after]
    figure = f"{len(wrong)} of {sum(map(len, calm)):,} fail from then on, {len(calm)} times"
    return verify(f"the service works as before within {back:g} s", figure, wrong if calm else False)


FROZEN_DATABASE = Scenario(
    name="frozen-database",
    claim="A frozen database (SIGSTOP) delays a request by at most 3 s, and no acknowledged write is lost.",
    run=run,
    full=ScenarioSize(times=5, seconds=10.0),
    quick=ScenarioSize(times=1, seconds=12.0, hang_seconds=20.0),
    # Both drivers: each ends a statement without a response with its own timeout and cancellation.
    drivers=DRIVERS,
)
