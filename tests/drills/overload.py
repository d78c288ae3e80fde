"""The drill `overload`: at five times the capacity, the service rejects the excess at once and serves the rest."""

import time
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

from adapters.testing.template_databases import connected
from tests.drills.load.capacity import measure_capacity
from tests.drills.load.cpu_affinity import pin_load_to_last_core, set_affinity
from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import Attempt
from tests.drills.load.load_runner import ENDLESS, run_load, running_load
from tests.drills.load.workload import insert_seed_data, reading
from tests.drills.reconciliation import describe
from tests.drills.scenario import (
    FaultWindow,
    Scenario,
    ScenarioContext,
    ScenarioResult,
    ScenarioSize,
    Verification,
    verify,
)
from tests.drills.service_under_test import sessions, target
from tests.drills.verifications import beginning, latency, latency_below

CLIENTS = 500
POOL_SIZE = 10
TIMES = 5.0
CALM, SHORT_CALM = 0.3, 0.1
"""Load before and after, as a share of the capacity."""
LIVENESS_RATE = 50.0
SHORT_LIMIT, SHORT_REQUESTS = 32, 400
"""Concurrent requests, and number of requests of the overload in the short form: enough on a slow machine."""
RESPONSE_SECONDS = 0.05
FULL_SPEED = 0.5
"""Share of the capacity that the service must acknowledge under overload, while it rejects four times the capacity.

In the short form, other tests take most of the CPU, so any acknowledged request is enough.
"""
BACK, SHORT_BACK = 5.0, 10.0
"""Seconds until the service works as before."""
SLICE = 0.5
MIN_REQUESTS_PER_SLICE = 10
"""With fewer requests, a slice may be empty by chance."""
BEGUN = 1.0
"""Seconds until the load after the overload has begun."""
PAGE = 100
MORE_POSTS = """
INSERT INTO posts (id, author_id, title, content, status, published_at, created_at, updated_at, version)
SELECT gen_random_uuid(), author_id, title, content, status, published_at, created_at, updated_at, version
FROM posts, generate_series(2, %s) WHERE title = 'seed 0'
"""


def run(stage: ScenarioContext) -> ScenarioResult:
    """Measure the capacity, and send five times that. A full page costs the service more than the load generator."""
    size, seconds = stage.size, stage.size.seconds
    back, calmer = (SHORT_BACK, SHORT_CALM) if size.hang_seconds else (BACK, CALM)
    limit = {"HEXAPOST_MAX_CONCURRENT_REQUESTS": str(SHORT_LIMIT)} if size.hang_seconds else {}
    with (
        pin_load_to_last_core(stage) as cores,
        target(stage, stage.url, HEXAPOST_DB_POOL_SIZE=str(POOL_SIZE), **limit) as service,
    ):
        set_affinity(service.served.process.pid, cores)
        warm = _opened(len(sessions(stage.database)))
        author = next(iter(insert_seed_data(service.job()).authors.values()))
        with connected(stage.database) as connection:
            connection.execute(MORE_POSTS, [PAGE])
        pages = [reading(f"/api/v1/posts?author_id={author}&limit={PAGE}", expects=author)]
        most, _ = measure_capacity(service.job(), pages, seconds=max(2.0, seconds / 4))
        if size.hang_seconds:
            seconds = max(seconds, SHORT_REQUESTS / (TIMES * most))
        stage.say(f"the capacity is {most:,.0f} pages a second; {TIMES:g} times that for {seconds:.0f} s")
        calm = service.job(pages, clients=CLIENTS, rate=calmer * most, seconds=seconds / 2)
        before = run_load(calm)
        many = replace(calm, rate=TIMES * most, seconds=seconds, connected=True)
        alive = service.job([reading("/livez", expects="ok")], clients=10, rate=LIVENESS_RATE, seconds=ENDLESS)
        with running_load(alive) as probing, running_load(many, stage.progress) as load:
            time.sleep(seconds)
            with running_load(replace(calm, seconds=back + 1.0)) as following:
                over, probes, after = load.wait(), probing.finish(), following.wait()
    ended, bound = max(one.due for one in over), size.bound(RESPONSE_SECONDS)
    refused = [one for one in over if one.status == 503]
    as_meant = [replace(one, outcome=ACKNOWLEDGED) for one in refused]
    checks = [
        warm,
        _rate(over, most),
        _shed(refused, over),
        latency_below("the service sends a 503", as_meant, percent=99.0, seconds=bound),
        _speed(over, most, 0.0 if size.hang_seconds else FULL_SPEED),
        latency_below("liveness responds meanwhile", probes, percent=99.0, seconds=bound),
        _recovered(before, after, ended, back, usual=max(2 * latency(before, 99.0), 1000 * bound)),
    ]
    fault = FaultWindow(f"{TIMES:g} times the capacity", beginning(over), ended)
    return ScenarioResult(checks, [*before, *over, *after], [fault])


def _opened(count: int) -> Verification:
    figure = f"{count} sessions: {POOL_SIZE} of the pool, and one of the readiness monitor"
    return verify("the pool is full before the service is ready", figure, count > POOL_SIZE)


def _rate(over: Sequence[Attempt], most: float) -> Verification:
    dues = sorted(one.due for one in over)
    rate = len(dues) / (dues[-1] - dues[0])
    figure = f"{rate:,.0f} per second, with a capacity of {most:,.0f}"
    enough = rate > (0.9 - 4 / sqrt(len(dues))) * TIMES * most  # 4 standard deviations of few arrivals
    return verify(f"the load is {TIMES:g} times the capacity", figure, enough, is_key=True)


def _shed(refused: Sequence[Attempt], over: Sequence[Attempt]) -> Verification:
    wrong = [
        describe(one)
        for one in over
        if one.outcome != ACKNOWLEDGED
        and not (one.status == 503 and "retry-after" in one.headers and "/problems/overloaded" in one.body)
    ]
    figure = f"{len(refused):,} of {len(over):,} are rejected so, {len(wrong):,} fail otherwise"
    return verify("excess requests get 503 overloaded with Retry-After", figure, wrong if refused else False)


def _speed(over: Sequence[Attempt], most: float, least: float) -> Verification:
    done = [one for one in over if one.outcome == ACKNOWLEDGED]
    begun, ended = beginning(over), max(one.due for one in over)
    speed = sum(one.done <= ended for one in done) / (ended - begun)
    figure = f"{speed:,.0f} of {most:,.0f} per second ({speed / most:.0%}), p99 {latency(done, 99.0):,.0f} ms"
    share = f"{least:.0%} of its capacity or more" if least else "some requests"
    return verify(f"the service acknowledges {share}", figure, bool(done) and speed >= least * most, is_key=True)


def _recovered(
    before: Sequence[Attempt],
    after: Sequence[Attempt],
    ended: float,
    within: float,
    *,
    usual: float = 1000 * RESPONSE_SECONDS,
) -> Verification:
    """Find the last slice of time with a rejected request, or with a p90 above the usual latency.

    Each slice must contain requests, except those in which the load begins, and unless the load is very small.
    """
    slices: dict[int, list[Attempt]] = {}
    for one in after:
        slices.setdefault(int((one.due - ended) / SLICE), []).append(one)
    unusual = [
        number
        for number, found in slices.items()
        if any(one.outcome != ACKNOWLEDGED for one in found) or latency(found, 90.0) > usual
    ]
    wrong = [describe(one) for one in before if one.outcome != ACKNOWLEDGED]
    wrong += [] if before else ["no request before the overload"]
    needed = range(int(BEGUN / SLICE), int(within / SLICE) + 1)
    empty = [number for number in needed if number not in slices]
    wrong += [] if after else ["no request after the overload"]
    if len(after) >= MIN_REQUESTS_PER_SLICE * len(needed):
        wrong += [f"no request {number * SLICE:g} s after the overload" for number in empty]
    seconds = (max(unusual) + 1) * SLICE if unusual else 0.0
    wrong += [f"recovery takes {seconds:.1f} s"] if seconds > within else []
    figure = f"after {seconds:.1f} s, with a usual latency of up to {usual:.0f} ms"
    return verify(f"the service works as before within {within:g} s", figure, wrong, is_key=True)


OVERLOAD = Scenario(
    name="overload",
    claim="At five times its capacity, the service rejects the excess at once, serves the rest, and recovers soon.",
    run=run,
    full=ScenarioSize(seconds=30.0),
    quick=ScenarioSize(seconds=2.0, hang_seconds=20.0, patient=True),
    # One driver: the service rejects the excess before it uses the driver.
)
