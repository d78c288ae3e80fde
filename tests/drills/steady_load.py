"""The drill `steady-load`: at a moderate load, latency is low, no request fails, and memory does not grow."""

from collections.abc import Sequence
from math import sqrt
from statistics import median

from tests.drills.faults.processes import memory_watched
from tests.drills.load.capacity import measure_capacity
from tests.drills.load.load_job import Attempt
from tests.drills.load.load_runner import run_load
from tests.drills.load.workload import insert_seed_data
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import target
from tests.drills.verifications import latency, standard_checks

CLIENTS = 200
SHARE, SHORT_SHARE = 0.6, 0.15
"""Share of the capacity; less in the short form, because other tests may start after the measurement."""
MAX_P95, TARGET_P95 = 0.1, 0.025
"""Bound and target in seconds."""
GROWTH = 0.05
WARM_UP = 0.2
"""Share of the time in which memory may grow, because caches fill."""
MIN_SECONDS = 120.0
"""In less time, the check of memory growth would measure the warm-up."""

Memory = Sequence[tuple[float, int]]


def run(stage: ScenarioContext) -> ScenarioResult:
    """Measure the capacity, and send a share of it."""
    seconds, share = stage.size.seconds, SHORT_SHARE if stage.size.hang_seconds else SHARE
    with target(stage, stage.url) as service:
        seeds = insert_seed_data(service.job())
        mixture = seeds.weighted_mix(reads=4)
        most, measured = measure_capacity(service.job(), mixture, seconds=max(2.0, seconds / 40))
        job = service.job(mixture, clients=CLIENTS, rate=share * most, seconds=seconds)
        stage.say(f"the capacity is {most:,.0f} requests per second; {share:.0%} of it for {seconds:g} s")
        with memory_watched(service.served.process.pid, every=max(0.25, seconds / 600)) as memory:
            attempts = run_load(job, stage.progress)
    checks = [
        _rate(attempts, most, seconds, share),
        _latency(attempts, stage.size.bound(MAX_P95)),
        _memory(memory, seconds),
        *standard_checks([*measured, *attempts], stage.database, seeds, claimed=attempts),
    ]
    return ScenarioResult(checks, attempts)


def _rate(attempts: Sequence[Attempt], most: float, seconds: float, share: float) -> Verification:
    rate, meant = len(attempts) / seconds, share * most
    is_meant = abs(rate / meant - 1) < max(0.2, 4 / sqrt(meant * seconds))  # 4 standard deviations of few arrivals
    figure = f"{rate:,.0f} requests per second of {most:,.0f}, for {seconds:g} s, 80% reads"
    return verify(f"the load is {share:.0%} of the capacity", figure, is_meant)


def _latency(attempts: Sequence[Attempt], bound: float) -> Verification:
    p50, p95, p99, slowest = (latency(attempts, percent) for percent in (50.0, 95.0, 99.0, 100.0))
    target_text = f"target for p95: {1000 * TARGET_P95:g} ms"
    figure = f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, slowest {slowest:.0f} ms ({target_text})"
    return verify(f"p95 is below {1000 * bound:g} ms", figure, p95 < 1000 * bound, is_key=True)


def _memory(memory: Memory, seconds: float) -> Verification:
    """Compare the median after the warm-up with the median at the end, each of a tenth of the time."""
    start = memory[0][0]
    after = [size for at, size in memory if WARM_UP <= (at - start) / seconds < WARM_UP + 0.1]
    last = [size for at, size in memory if (at - start) / seconds >= 0.9]
    growth = median(last) / median(after) - 1 if after and last else float("inf")
    figure = f"{growth:+.1%}, to {memory[-1][1] / 2**20:.0f} MiB"
    if seconds < MIN_SECONDS:
        return verify("memory is measured", f"{figure}: too short a time for a claim", True)
    return verify(f"memory grows by less than {GROWTH:.0%} after the warm-up", figure, growth < GROWTH, is_key=True)


STEADY_LOAD = Scenario(
    name="steady-load",
    claim="At 60% of the capacity, 80% reads, p95 is below 100 ms, no request fails and memory does not grow.",
    run=run,
    full=ScenarioSize(seconds=300.0),
    quick=ScenarioSize(seconds=3.0, hang_seconds=20.0, patient=True),
    # One driver: the bounds are for the default driver. `make bench` measures performance.
)
