"""Summaries of rounds: medians, and ratios within each round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.runner import Run
from tests.benchmarks.servers import HEXAPOST, QUIET, RAW, TEXTBOOK
from tests.benchmarks.workloads import Workload

TARGETS = {
    RAW.key: (2.5, ("W1", "W2", "W3")),
    TEXTBOOK.key: (0.25, ("W1", "W2", "W3")),
    QUIET.key: (1.11, ("W1",)),  # the log may be 10%
}
"""The most CPU per request of Hexapost, over that of each other service, and the workloads to which it applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadResult:
    """A service at a workload: medians of the rounds."""

    service: str
    cpu_us: float
    throughput: float
    generator_share: float
    rate: float
    latency_ms: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The ratio of the first service to a different one, by round."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A workload: the score of each service, and the ratios to the services after the first, by their key."""

    workload: str
    title: str
    scores: list[WorkloadResult]
    cpu: dict[str, Ratio]
    throughput: dict[str, Ratio]


def summarize(workload: Workload, services: Sequence[str], runs: Sequence[Run]) -> Result:
    """Return the summary of the runs of a workload."""
    own = [run for run in runs if run.workload == workload.key]
    first, *others = services
    return Result(
        workload=workload.key,
        title=workload.title,
        scores=[_score([run for run in own if run.service == service]) for service in services],
        cpu={other: _ratio(own, first, other, lambda run: run.cpu_us) for other in others},
        throughput={other: _ratio(own, first, other, lambda run: run.throughput) for other in others},
    )


def _score(runs: Sequence[Run]) -> WorkloadResult:
    saturated = [run for run in runs if run.rate is None]
    paced = [run for run in runs if run.rate is not None]
    return WorkloadResult(
        service=runs[0].service,
        cpu_us=median(run.cpu_us for run in saturated),
        throughput=median(run.throughput for run in saturated),
        generator_share=median(run.generator_share for run in saturated),
        rate=median(run.rate or 0.0 for run in paced),
        latency_ms={name: median(run.latency_ms[name] for run in paced) for name in paced[0].latency_ms},
    )


def _ratio(runs: Sequence[Run], first: str, other: str, value: Callable[[Run], float]) -> Ratio:
    found = ratios(runs, first, other, value)
    return Ratio(median=median(found), least=min(found), most=max(found))


def ratios(runs: Sequence[Run], first: str, other: str, value: Callable[[Run], float]) -> list[float]:
    """Return the first service over the other one in each saturated round."""
    found = {(run.service, run.round): value(run) for run in runs if run.rate is None}
    return [found[first, number] / found[other, number] for service, number in found if service == first]


def verdict(results: Sequence[Result]) -> str:
    """Return a line: the targets, the figures that were reached, and whether they meet them."""
    parts = []
    for other, (most, keys) in TARGETS.items():
        judged = [result for result in results if result.workload in keys and other in result.cpu]
        reached = {result.workload: result.cpu[other].median for result in judged}
        if reached:
            figures = ", ".join(f"{key} {ratio:.3g}" for key, ratio in reached.items())
            word = "met" if max(reached.values()) <= most else "MISSED"
            parts.append(f"{HEXAPOST.key} <= {most:g} x {other} {word} ({figures})")
    return "targets of CPU per request: " + ("; ".join(parts) or "none measured")
