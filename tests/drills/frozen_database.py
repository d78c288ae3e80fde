"""The drill `frozen-database`: a server that takes connections and says nothing costs a request a bounded time."""

import time
from collections.abc import Sequence
from dataclasses import replace

from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.faults.own_postgres import own_postgres
from tests.drills.ledger import described
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import Attempt
from tests.drills.load.loading import loading
from tests.drills.load.mixture import reading, seeded
from tests.drills.service import target
from tests.drills.verdicts import Faults, answered, fast, kept, outcome, right

CLIENTS = 400
"""So many that each request has one at once: what waits in the load would be no fault of the service's."""
RATE = 60.0
LIVENESS_RATE = 40.0
LONGEST_SECONDS = 3600.0
SETTLE_SECONDS = 60.0
CALM = 2.0
LIVENESS = 50.0
COST = 3.0
"""The longest that a request may take, in seconds; in short some times that, and less than the frost."""
BACK = 2.0
"""Seconds after which everything is as usual again."""


def run(stage: Stage) -> Outcome:
    """Freeze every process of PostgreSQL for as long as the size says, as often as it says."""
    faults, slack = Faults(), stage.size.slack
    percent = 99.0 if slack == 1.0 else 50.0
    with own_postgres(stage.directory) as postgres:
        with target(stage, postgres.url(stage.driver)) as service:
            seeds = seeded(service.job([], clients=10))
            job = service.job(seeds.mixture(reads=1, writes=1), clients=CLIENTS, rate=RATE, seconds=LONGEST_SECONDS)
            alive = replace(job, operations=[reading("/livez", expects="ok")], clients=4, rate=LIVENESS_RATE)
            with loading(job) as load, loading(alive) as probes:
                for number in range(stage.size.times):
                    time.sleep(CALM)
                    with faults.during("PostgreSQL is frozen"):
                        postgres.freeze()
                        time.sleep(stage.size.seconds)
                        postgres.thaw()
                    time.sleep(BACK)
                    stage.progress(number + 1, stage.size.times)
                time.sleep(CALM)
                attempts, probed = load.finish(SETTLE_SECONDS), probes.finish(SETTLE_SECONDS)
        checks = [
            _bounded(attempts, COST * slack),
            answered(attempts),
            _met(attempts, faults),
            _back(attempts, faults),
            fast("liveness is answered meanwhile", probed, percent=percent, milliseconds=LIVENESS * slack),
            right(attempts),
            *kept(attempts, postgres.url(), seeds),
            *postgres.sound(),
        ]
    return outcome(checks, attempts, faults.marks(attempts))


def _bounded(attempts: Sequence[Attempt], cost: float) -> Check:
    slow = sorted((one for one in attempts if one.done - one.due > cost), key=lambda one: one.due - one.done)
    slowest = max(one.done - one.due for one in attempts)
    figure = f"the slowest of {len(attempts):,} took {slowest:.2f} s"
    reasons = [f"{len(slow):,} took longer", *map(described, slow)] if slow else []
    return expect(f"a frozen database costs a request at most {cost:g} s", figure, reasons)


def _met(attempts: Sequence[Attempt], faults: Faults) -> Check:
    """Return that each frost kept requests from being acknowledged: otherwise nothing was frozen."""
    kept_off = [
        sum(start <= one.due < end and one.outcome != ACKNOWLEDGED for one in attempts)
        for _, start, end in faults.moments
    ]
    figure = f"{' and '.join(f'{count:,}' for count in kept_off)} requests are not acknowledged"
    return expect("requests meet the frost", figure, min(kept_off, default=0) > 0)


def _back(attempts: Sequence[Attempt], faults: Faults) -> Check:
    """Look at the requests after each thaw, when nothing was frozen, nor had been a moment ago."""
    moments = [(start, end) for _, start, end in faults.moments]
    following = [start for start, _ in moments[1:]] + [float("inf")]
    calm = [
        [one for one in attempts if end + BACK <= one.due and one.done <= later]
        for (_, end), later in zip(moments, following, strict=False)
    ]
    wrong = [described(one) for after in calm for one in after if one.outcome != ACKNOWLEDGED]
    wrong += [f"there is no request after thaw {number}" for number, after in enumerate(calm, 1) if not after]
    figure = f"{len(wrong)} of {sum(map(len, calm)):,} fail from then on, {len(calm)} times"
    return expect(f"{BACK:g} s after the thaw all is as usual", figure, wrong if calm else False)


FROZEN_DATABASE = Drill(
    name="frozen-database",
    claim="A database that is frozen (SIGSTOP) costs a request at most 3 s, and nothing is lost when it thaws.",
    run=run,
    full=Size(times=5, seconds=10.0),
    quick=Size(times=1, seconds=5.0, slack=1.6),
)
