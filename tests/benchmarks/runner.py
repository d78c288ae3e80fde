"""The measurement: every service in turn, round after round, so that what else the machine does meets all of them."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.benchmarks.dataset import Dataset
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.load import GRACE_SECONDS, Job, Outcome
from tests.benchmarks.servers import HOST, ROOT, Server
from tests.benchmarks.workloads import Workload, correct_status
from tests.support.chart_scale import percentile

PERCENTILES = (50, 90, 95, 99)
_SETTLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured; `share` is the rate of the open loop over the throughput of the slowest service."""

    rounds: int
    seconds: float
    connections: int = 32
    share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One service at one workload for some seconds: saturated without a rate, at a fixed rate with one."""

    workload: str
    service: str
    round: int
    rate: float | None
    completed: int
    seconds: float
    server_cpu_seconds: float
    generator_cpu_seconds: float
    latency_ms: dict[str, float]
    """By percentile; empty without a rate."""

    @property
    def cpu_us(self) -> float:
        """The server's CPU for each request, in microseconds."""
        return self.server_cpu_seconds / self.completed * 1e6

    @property
    def throughput(self) -> float:
        """Requests completed in a second."""
        return self.completed / self.seconds

    @property
    def generator_share(self) -> float:
        """How much of one core the load generator used: near 1 it is what limits the throughput."""
        return self.generator_cpu_seconds / self.seconds


class BenchmarkRunner:
    """Measures servers."""

    def __init__(self, plan: Plan, servers: Sequence[Server], dataset: Dataset, report: Callable[[str], None]) -> None:
        self._plan = plan
        self._servers = servers
        self._dataset = dataset
        self._report = report

    def measure(self, workload: Workload) -> list[Run]:
        """Return all runs of a workload: the saturated rounds, then the rounds at a rate that all services sustain."""
        self.warm_up(workload)
        saturated = self._rounds(workload, rate=None)
        slowest = min(
            median(run.throughput for run in saturated if run.service == server.service.key) for server in self._servers
        )
        rate = max(1.0, float(round(slowest * self._plan.share)))
        return saturated + self._rounds(workload, rate=rate)

    def warm_up(self, workload: Workload) -> None:
        """Run a workload on every server for a short time that is not counted."""
        for server in self._servers:
            self._run(workload, server, 0, rate=None, seconds=min(1.0, self._plan.seconds / 4))

    def measure_round(self, workload: Workload, number: int, *, rate: float | None = None) -> list[Run]:
        """Return a run of each server. Six rounds of three servers have each of the six orders once."""
        first = (number - 1) % len(self._servers)
        turns = [*self._servers[first:], *self._servers[:first]][:: 1 if number % 2 else -1]
        runs = [self._run(workload, server, number, rate=rate, seconds=self._plan.seconds) for server in turns]
        pace = "saturated" if rate is None else f"at {rate:,.0f}/s"
        self._report(f"{workload.key} {pace}, round {number}/{self._plan.rounds}: {_line(runs)}")
        return runs

    def _rounds(self, workload: Workload, *, rate: float | None) -> list[Run]:
        numbers = range(1, self._plan.rounds + 1)
        return [run for number in numbers for run in self.measure_round(workload, number, rate=rate)]

    def _run(self, workload: Workload, server: Server, number: int, *, rate: float | None, seconds: float) -> Run:
        database = server.deployment.database
        job = Job(
            host=HOST,
            port=server.port,
            connections=self._plan.connections,
            seconds=seconds,
            requests=[
                (request.rendered(server.deployment.headers).decode(), correct_status(request))
                for request in workload.requests
            ],
            rate=rate,
            seed=number,
        )
        before = server.cpu_seconds()
        outcome = _generate(job, server)
        time.sleep(_SETTLE_SECONDS)  # includes the work after the last response
        cpu = server.cpu_seconds() - before
        if outcome.written:
            database.await_writes(self._dataset, outcome.written)
            database.restore(self._dataset)
        return Run(
            workload=workload.key,
            service=server.service.key,
            round=number,
            rate=rate,
            completed=outcome.completed,
            seconds=outcome.seconds,
            server_cpu_seconds=cpu,
            generator_cpu_seconds=outcome.cpu_seconds,
            latency_ms=percentiles([seconds * 1000 for seconds in outcome.latencies]),
        )


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of the values by nearest rank. Without values, return an empty dict."""
    ordered = sorted(values)
    return {f"p{point:g}": percentile(ordered, point) for point in PERCENTILES if ordered}


def _generate(job: Job, server: Server) -> Outcome:
    """Run the load generator. Raises BenchmarkError for a wrong or missing response."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        cwd=ROOT,
        input=json.dumps(dataclasses.asdict(job)),
        capture_output=True,
        check=False,
        text=True,
        timeout=job.seconds + 2 * GRACE_SECONDS,
    )
    if done.returncode:
        raise BenchmarkError(f"{server.service.name}: {done.stderr.strip()}\n{server.last_words()}")
    outcome = Outcome(**json.loads(done.stdout))
    if not outcome.completed:
        raise BenchmarkError(f"{server.service.name}: nothing was completed in {job.seconds} seconds")
    return outcome


def _line(runs: Sequence[Run]) -> str:
    """Return the round in a line, the services in their alphabetical order."""
    parts = []
    for run in sorted(runs, key=lambda run: run.service):
        latency = f", p50 {run.latency_ms['p50']:.2f} ms" if run.latency_ms else ""
        parts.append(f"{run.service} {run.throughput:,.0f}/s, {run.cpu_us:,.0f} µs{latency}")
    return " | ".join(parts)
