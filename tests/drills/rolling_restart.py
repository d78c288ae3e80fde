"""The drill `rolling-restart`: replacing all workers fails no request."""

import random
import signal
import time
from collections.abc import Sequence

from tests.cli.support import wait_until
from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.faults.processes import children
from tests.drills.load.jobs import Attempt
from tests.drills.load.loading import ENDLESS, loading
from tests.drills.load.mixture import seeded
from tests.drills.service import Target, target
from tests.drills.verdicts import Faults, all_acknowledged, kept, outcome, right

WORKERS = 2
RATE = 60.0
CALM = (0.2, 0.8)


def run(stage: Stage) -> Outcome:
    faults = Faults()
    with target(stage, stage.url, "--workers", str(WORKERS)) as service:
        seeds = seeded(service.job())
        chance = random.Random(stage.seed)  # noqa: S311 - the same moments for the same seed
        with loading(service.job(seeds.mixture(), rate=RATE, seconds=ENDLESS)) as load:
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
        right(attempts),
        *kept(attempts, stage.database, seeds),
    ]
    return outcome(checks, attempts, faults.marks(attempts))


def _roll(service: Target) -> None:
    """Send SIGHUP, and return when rolling restart finished."""
    supervisor = service.served.process.pid
    before = set(children(supervisor))
    service.served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not before & (now := set(children(supervisor))) and len(now) >= WORKERS)


def _replaced(faults: Faults, attempts: Sequence[Attempt], times: int) -> Check:
    wrong = faults.unmet(attempts)
    if len(faults.moments) != times:
        wrong.append(f"expected {times} times")
    return expect("every worker is replaced", f"{len(faults.moments)} times, in up to {faults.longest:.1f} s", wrong)


ROLLING_RESTART = Drill(
    name="rolling-restart",
    claim="A rolling restart of all workers fails no request.",
    run=run,
    full=Size(times=20),
    quick=Size(times=1, patient=True),
)
