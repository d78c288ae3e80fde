"""The drill `rolling-restart`: every worker is replaced, again and again, and nobody notices."""

import random
import signal
import time
from collections.abc import Sequence

from tests.cli.support import wait_until
from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.faults.processes import children
from tests.drills.ledger import described
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import Attempt
from tests.drills.load.loading import loading
from tests.drills.load.mixture import seeded
from tests.drills.service import Target, target
from tests.drills.verdicts import Faults, kept, latency, outcome, right

WORKERS = 2
CLIENTS = 20
RATE = 60.0
LONGEST_SECONDS = 3600.0
SETTLE_SECONDS = 60.0
CALM = (0.2, 0.8)


def run(stage: Stage) -> Outcome:
    """Tell the service to replace its workers as often as the size says, under load."""
    faults = Faults()
    database = stage.database.set(drivername=f"postgresql+{stage.driver}")
    with target(stage, database, "--workers", str(WORKERS)) as service:
        seeds = seeded(service.job([], clients=CLIENTS))
        job = service.job(seeds.mixture(reads=1, writes=1), clients=CLIENTS, rate=RATE, seconds=LONGEST_SECONDS)
        chance = random.Random(stage.seed)  # noqa: S311 - the same moments for the same seed
        with loading(job) as load:
            for number in range(stage.size.times):
                time.sleep(chance.uniform(*CALM))
                with faults.during("workers are replaced"):
                    _roll(service)
                stage.progress(number + 1, stage.size.times)
            time.sleep(CALM[1])
            attempts = load.finish(SETTLE_SECONDS)
    checks = [
        _replaced(faults, attempts, stage.size.times),
        _all_answered(attempts),
        right(attempts),
        *kept(attempts, stage.database, seeds),
    ]
    return outcome(checks, attempts, faults.marks(attempts))


def _roll(service: Target) -> None:
    """Return when no worker of before lives and as many others do."""
    supervisor = service.served.process.pid
    before = set(children(supervisor))
    service.served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not before & (now := set(children(supervisor))) and len(now) >= WORKERS)


def _replaced(faults: Faults, attempts: Sequence[Attempt], times: int) -> Check:
    """Return that it was done so often, and that requests were under way each time."""
    wrong = faults.unmet(attempts)
    if len(faults.moments) != times:
        wrong.append(f"{times} times were meant")
    return expect("every worker is replaced", f"{len(faults.moments)} times, in up to {faults.longest:.1f} s", wrong)


def _all_answered(attempts: Sequence[Attempt]) -> Check:
    """Take what was cut off for failed, too: no server is to break off what it has begun."""
    failed = [described(one) for one in attempts if one.outcome != ACKNOWLEDGED]
    figure = f"{len(failed)} of {len(attempts):,} fail, p99 {latency(attempts, 99.0):.0f} ms"
    return expect("no request fails, and none is cut off", figure, failed)


ROLLING_RESTART = Drill(
    name="rolling-restart",
    claim="A rolling restart of all workers fails no request.",
    run=run,
    full=Size(times=20),
    quick=Size(times=2, patient=True),
)
