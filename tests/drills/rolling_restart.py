"""The drill `rolling-restart`: replacing all workers fails no request."""

import random
import signal
import time
from collections.abc import Sequence

from adapters.testing.template_databases import connected
from tests.cli.support import wait_until
from tests.drills.faults.processes import children
from tests.drills.load.load_job import Attempt
from tests.drills.load.load_runner import ENDLESS, running_load
from tests.drills.load.workload import insert_seed_data
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import ServiceUnderTest, target
from tests.drills.verifications import FaultTimeline, all_acknowledged, nothing_lost, responses_match_requests

WORKERS = 2
RATE = 60.0
CALM = (0.2, 0.8)
SLOW_WRITES = """
CREATE FUNCTION drill_sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$;
CREATE TRIGGER drill_users BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION drill_sleep();
CREATE TRIGGER drill_posts BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION drill_sleep();
"""
"""With these triggers, 6 requests are in progress on average, so almost every worker has some when it is stopped."""


def run(stage: ScenarioContext) -> ScenarioResult:
    faults = FaultTimeline()
    with target(stage, stage.url, "--workers", str(WORKERS)) as service:
        seeds = insert_seed_data(service.job())
        with connected(stage.database) as connection:
            connection.execute(SLOW_WRITES.encode())
        chance = random.Random(stage.seed)  # noqa: S311 - the same moments for the same seed
        with running_load(service.job(seeds.weighted_mix(), rate=RATE, seconds=ENDLESS)) as load:
            for number in range(stage.size.times):
                time.sleep(chance.uniform(*CALM))
                with faults.during("workers are replaced"):
                    _roll(service)
                stage.progress(number + 1, stage.size.times)
            time.sleep(CALM[1])
            attempts = load.finish()
    checks = [
        _replaced(faults, attempts, stage.size.times),
        all_acknowledged(attempts),
        responses_match_requests(attempts),
        *nothing_lost(attempts, stage.database, seeds),
    ]
    return ScenarioResult(checks, attempts, faults.windows)


def _roll(service: ServiceUnderTest) -> None:
    """Send SIGHUP, and return when rolling restart finished."""
    supervisor = service.served.process.pid
    before = set(children(supervisor))
    service.served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not before & (now := set(children(supervisor))) and len(now) >= WORKERS)


def _replaced(faults: FaultTimeline, attempts: Sequence[Attempt], times: int) -> Verification:
    figure = f"{len(faults.windows)} times, in up to {faults.longest:.1f} s"
    return verify("every worker is replaced", figure, faults.fault_errors(attempts, times), is_key=True)


ROLLING_RESTART = Scenario(
    name="rolling-restart",
    claim="A rolling restart of all workers fails no request.",
    run=run,
    full=ScenarioSize(times=20),
    quick=ScenarioSize(times=1, patient=True),
    # One driver: the supervisor and the workers decide about each request.
)
