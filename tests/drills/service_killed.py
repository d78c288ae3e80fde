"""The drill `service-killed`: kill -9 of the service loses no acknowledged write, and retries store no duplicate."""

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from tests.cli.support import serving
from tests.drills.faults.ports import free_port
from tests.drills.load.http_connection import UNKNOWN
from tests.drills.load.load_job import Attempt, LoadJob
from tests.drills.load.load_runner import ENDLESS, running_load
from tests.drills.load.workload import insert_seed_data, only_writes
from tests.drills.reconciliation import Reconciliation, rows
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import target, variables_of, writes_waiting
from tests.drills.verifications import FaultTimeline, acknowledged, responses_match_requests, stored

RATE = 40.0
PATIENCE_SECONDS = 60.0
PAUSES = (0.02, 0.2)
UP = (1.0, 2.5)
"""Shortest and longest time between start and kill, in seconds."""


def run(stage: ScenarioContext) -> ScenarioResult:
    """Kill the service under load and start it again, `size.times` times."""
    faults, kills = FaultTimeline(), list[float]()
    with target(stage, stage.url, "--port", str(free_port())) as service:
        seeds = insert_seed_data(service.job())
        job = service.job(seeds.weighted_mix(), rate=RATE, seconds=ENDLESS, retry_seconds=PATIENCE_SECONDS)
    attempts = _attempts(stage, replace(job, pauses=PAUSES), faults, kills)
    everything = Reconciliation.of(attempts, {})
    checks = [
        _kills(attempts, kills, faults, stage.size.times),
        acknowledged(everything, retries=len(attempts) - len(everything.last)),
        responses_match_requests(attempts),
        *stored(Reconciliation.of(only_writes(attempts), rows(stage.database)), known=seeds.names),
    ]
    return ScenarioResult(checks, attempts, faults.windows)


def _attempts(stage: ScenarioContext, job: LoadJob, faults: FaultTimeline, kills: list[float]) -> Sequence[Attempt]:
    chance = random.Random(stage.seed)  # noqa: S311 - the same moments for the same seed
    variables = variables_of(stage, stage.url)
    with running_load(job) as load:
        for number in range(stage.size.times + 1):
            with ExitStack() as held, serving(stage.directory, "--port", str(job.port), **variables) as served:
                with faults.during("the service is down"):
                    served.base_url()
                time.sleep(chance.uniform(*UP))
                if number == stage.size.times:
                    return load.finish()
                if number % 2 == 0:  # alternate a kill during a write with a kill at a random moment
                    held.enter_context(writes_waiting(stage.database))
                kills.append(time.monotonic())
            stage.progress(number + 1, stage.size.times)
    raise AssertionError("the last iteration returns")


def _kills(attempts: Sequence[Attempt], kills: Sequence[float], faults: FaultTimeline, times: int) -> Verification:
    """Check that at least half of the kills interrupted requests: otherwise the drill proves little."""
    unknown = [one for one in attempts if one.outcome == UNKNOWN]
    met = sum(any(one.sent < kill <= one.done for one in unknown) for kill in kills)
    figure = f"{len(kills)} kills, {met} during requests, down for up to {faults.longest:.1f} s"
    return verify(
        "kill -9 of the service interrupts requests", figure, len(kills) == times and 2 * met >= times, is_key=True
    )


SERVICE_KILLED = Scenario(
    name="service-killed",
    claim="kill -9 of the service loses no acknowledged write; retries with Idempotency-Key store no duplicate.",
    run=run,
    full=ScenarioSize(times=50),
    quick=ScenarioSize(times=2, patient=True),
    # One driver: it ends with the killed process.
)
