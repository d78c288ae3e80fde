"""The drill `overload`: five times the capacity is refused at once, and what is taken is answered as ever."""

import time
from collections.abc import Sequence
from dataclasses import replace

from tests.drills.drill import Check, Drill, Mark, Outcome, Size, Stage, expect
from tests.drills.ledger import described
from tests.drills.load.apart import apart, move
from tests.drills.load.capacity import capacity
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import Attempt, Job, Operation
from tests.drills.load.loading import beginning, loaded, loading
from tests.drills.load.mixture import Seeds, reading, seeded
from tests.drills.service import Target, target
from tests.drills.verdicts import fast, latency, outcome
from tests.support.databases import connected

CLIENTS = 500
POOL_SIZE = 10
TIMES = 5.0
CALM = 0.3
"""The share of the capacity before and after."""
LIVENESS_RATE = 50.0
MILLISECONDS = 50.0
FULL_SPEED = 0.5
"""The share of the capacity that has to be answered under overload; of the rest, four times as much is refused."""
BACK = 5.0
"""Seconds after which everything is as before."""
SLICE = 0.5
BEGUN = 1.0
"""Seconds after which the load has begun that follows."""
LONGEST_SECONDS = 3600.0
SETTLE_SECONDS = 60.0
PAGE = 100
MORE_POSTS = """
INSERT INTO posts (id, author_id, title, content, status, published_at, created_at, updated_at, version)
SELECT gen_random_uuid(), author_id, title, content, status, published_at, created_at, updated_at, version
FROM posts, generate_series(2, %s) WHERE title = 'seed 0'
"""


def run(stage: Stage) -> Outcome:
    """Measure the capacity for whole pages, whose load costs less than their answers, and ask for five times that."""
    database = stage.database.set(drivername=f"postgresql+{stage.driver}")
    with apart(stage) as cores, target(stage, database, HEXAPOST_POOL_SIZE=str(POOL_SIZE)) as service:
        move(service.served.process.pid, cores)
        warm = _warm(stage)
        seeds = seeded(service.job([], clients=20))
        with connected(stage.database) as connection:
            connection.execute(MORE_POSTS, [PAGE])
        pages = _pages(seeds)
        most = capacity(service.job([], clients=1), pages, seconds=max(2.0, stage.size.seconds / 4)).rate
        stage.say(f"the capacity is {most:,.0f} pages a second; {TIMES:g} times that for {stage.size.seconds:g} s")
        calm = service.job(pages, clients=CLIENTS, rate=CALM * most, seconds=stage.size.seconds / 2)
        before = loaded(calm, seconds=SETTLE_SECONDS)
        many = replace(calm, rate=TIMES * most, seconds=stage.size.seconds, connected=True)
        over, after, probes = _overload(stage, service, many)
    ended = max(one.due for one in over)
    checks = [warm, *_shedding(over, probes, most, stage.size.slack), _recovered(before, after, ended, BACK)]
    everything = [*before, *over, *after]
    start = beginning(everything)
    mark = Mark(label=f"{TIMES:g} times the capacity", start=beginning(over) - start, end=ended - start)
    return outcome(checks, everything, [mark])


def _shedding(over: Sequence[Attempt], probes: Sequence[Attempt], most: float, slack: float) -> list[Check]:
    bound, percent = MILLISECONDS * slack, 99.0 if slack == 1.0 else 50.0
    refused = [one for one in over if one.status == 503]
    as_meant = [replace(one, outcome=ACKNOWLEDGED) for one in refused]
    return [
        _rate(over, most),
        _shed(refused, over),
        fast("503 is answered", as_meant, percent=percent, milliseconds=bound),
        _speed(over, most, FULL_SPEED / min(slack, 4.0)),
        fast("liveness is answered meanwhile", probes, percent=percent, milliseconds=bound),
    ]


def _pages(seeds: Seeds) -> list[Operation]:
    id_ = next(iter(seeds.authors.values()))
    return [reading(f"/api/v1/posts?author_id={id_}&limit={PAGE}", expects=id_)]


def _overload(stage: Stage, service: Target, job: Job) -> Sequence[Sequence[Attempt]]:
    """Return what came of the overload, of the load after it, and of looking whether the process lives meanwhile."""
    seconds = stage.size.seconds
    alive = service.job([reading("/livez", expects="ok")], clients=10, rate=LIVENESS_RATE, seconds=LONGEST_SECONDS)
    calm = replace(job, rate=(job.rate or 0.0) * CALM / TIMES, seconds=BACK + 1.0)
    with loading(alive) as probes, loading(job, stage.progress) as load:
        time.sleep(seconds)
        with loading(calm) as following:
            over, probed = load.wait(SETTLE_SECONDS), probes.finish(SETTLE_SECONDS)
            return over, following.wait(SETTLE_SECONDS), probed


def _warm(stage: Stage) -> Check:
    """Count the connections of a service that has not been asked anything."""
    with connected(stage.database) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hexapost'"
        )
        (count,) = found.fetchone() or (0,)
    return _opened(int(str(count)))


def _opened(count: int) -> Check:
    figure = f"{count} connections, where the pool has {POOL_SIZE} and one more looks what is ready"
    return expect("the pool is warm before the service is ready", figure, count > POOL_SIZE)


def _rate(over: Sequence[Attempt], most: float) -> Check:
    dues = sorted(one.due for one in over)
    rate = len(dues) / (dues[-1] - dues[0])
    figure = f"{rate:,.0f} a second, where the capacity is {most:,.0f}"
    return expect(f"there are {TIMES:g} times as many requests as can be answered", figure, rate > 0.9 * TIMES * most)


def _shed(refused: Sequence[Attempt], over: Sequence[Attempt]) -> Check:
    wrong = [
        described(one)
        for one in over
        if one.outcome != ACKNOWLEDGED
        and not (one.status == 503 and "retry-after" in one.headers and "/problems/overloaded" in one.body)
    ]
    figure = f"{len(refused):,} of {len(over):,} are refused so, {len(wrong):,} fail otherwise"
    return expect("what is too much is answered 503 overloaded with Retry-After", figure, wrong if refused else False)


def _speed(over: Sequence[Attempt], most: float, least: float) -> Check:
    done = [one for one in over if one.outcome == ACKNOWLEDGED]
    begun, ended = beginning(over), max(one.due for one in over)
    speed = sum(one.done <= ended for one in done) / (ended - begun)
    figure = f"{speed:,.0f} of {most:,.0f} a second ({speed / most:.0%}), p99 {latency(done, 99.0):,.0f} ms"
    return expect(f"meanwhile it works at {least:.0%} of its capacity or more", figure, speed >= least * most)


def _recovered(before: Sequence[Attempt], after: Sequence[Attempt], ended: float, within: float) -> Check:
    """Find the last moment in which a request was refused, or one in ten took longer than nearly all did before.

    There have to be requests at any time, but for that in which the load begins.
    """
    usual = max(2 * latency(before, 99.0), MILLISECONDS)
    slices: dict[int, list[Attempt]] = {}
    for one in after:
        slices.setdefault(int((one.due - ended) / SLICE), []).append(one)
    unusual = [
        number
        for number, found in slices.items()
        if any(one.outcome != ACKNOWLEDGED for one in found) or latency(found, 90.0) > usual
    ]
    wrong = [described(one) for one in before if one.outcome != ACKNOWLEDGED]
    wrong += [] if before else ["there is no request before"]
    needed = range(int(BEGUN / SLICE), int(within / SLICE) + 1)
    wrong += [f"there is no request {number * SLICE:g} s after" for number in needed if number not in slices]
    seconds = (max(unusual) + 1) * SLICE if unusual else 0.0
    wrong += [f"it takes {seconds:.1f} s"] if seconds > within else []
    figure = f"after {seconds:.1f} s, where up to {usual:.0f} ms are usual"
    return expect(f"it is back to normal within {within:g} s", figure, wrong)


OVERLOAD = Drill(
    name="overload",
    claim="At five times its capacity the service sheds at once what is too much, works on, and is soon as before.",
    run=run,
    full=Size(seconds=30.0),
    quick=Size(seconds=3.0),
)
