"""Summaries of rounds: medians, and ratios within each round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.runner import Plan, Run
from tests.benchmarks.servers import QUIET, RAW, TEXTBOOK
from tests.benchmarks.workloads import Workload

MET, MISSED = "met", "MISSED"
TARGETS = {
    RAW.key: {"W0": 1.4, "W1": 0.6, "W2": 1.1, "W3": 0.6, "W4": 0.7, "W5": 1.0, "W6": 1.3, "W7": 1.1},
    TEXTBOOK.key: {"W1": 0.1, "W3": 0.1},
    QUIET.key: {"W1": 1.11},  # the log may be 10%
}
"""The maximum CPU per request of Hexapost relative to each other service, by workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadResult:
    """A service at a workload: medians of the rounds. `relative` is the CPU relative to raw ASGI + asyncpg."""

    service: str
    cpu_us: float
    relative: float
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

    def score(self, service: str) -> WorkloadResult:
        return next(score for score in self.scores if score.service == service)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of a benchmark, and what is required to repeat it. `services` has names by key."""

    machine: dict[str, str]
    plan: Plan
    rows: dict[str, int]
    services: dict[str, str]
    results: list[Result]


def summarize(workload: Workload, services: Sequence[str], runs: Sequence[Run]) -> Result:
    """Return the summary of the runs of a workload."""
    own = [run for run in runs if run.workload == workload.key]
    first, *others = services
    return Result(
        workload=workload.key,
        title=workload.title,
        scores=[_score(own, service) for service in services],
        cpu={other: _ratio(own, first, other, lambda run: run.cpu_us) for other in others},
        throughput={other: _ratio(own, first, other, lambda run: run.throughput) for other in others},
    )


def _score(runs: Sequence[Run], service: str) -> WorkloadResult:
    saturated = [run for run in runs if run.service == service and run.rate is None]
    paced = [run for run in runs if run.service == service and run.rate is not None]
    return WorkloadResult(
        service=service,
        cpu_us=median(run.cpu_us for run in saturated),
        relative=median(ratios(runs, service, RAW.key, lambda run: run.cpu_us)),
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


def target(result: Result, other: str) -> str:
    """Return the target of a ratio and whether it is met, an empty text without a target."""
    most = TARGETS.get(other, {}).get(result.workload)
    if most is None:
        return ""
    return f"{most:g} {MET if result.cpu[other].median <= most else MISSED}"


def verdict(results: Sequence[Result]) -> str:
    """Return a line: how many targets are met."""
    targets = [text for result in results for other in result.cpu if (text := target(result, other))]
    met = sum(text.endswith(MET) for text in targets)
    return f"targets of CPU per request: {met} of {len(targets)} met"
