"""The whole benchmark over one database."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks import chart, table
from tests.benchmarks.checks import check_responses
from tests.benchmarks.dataset import generated
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.machine import describe
from tests.benchmarks.runner import BenchmarkRunner, Plan, Run
from tests.benchmarks.servers import SERVICES, Service, ready
from tests.benchmarks.summary import summarize
from tests.benchmarks.workloads import WORKLOADS, Workload, workloads


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """The compared services, the workloads, the number of rows, and the directory of `bench.json` and `bench.svg`."""

    plan: Plan
    output: Path
    users: int = 10_000
    posts: int = 100_000
    keys: Sequence[str] = tuple(WORKLOADS)
    services: Sequence[Service] = SERVICES

    def run(self, deployment: Deployment, report: Callable[[str], None]) -> str:
        """Return the tables. Raises BenchmarkError without a result. No file is written then.

        The deployment is prepared, and its database has no users and posts.
        """
        report(f"loading {self.users:,} users and {self.posts:,} posts")
        dataset = generated(users=self.users, posts=self.posts)
        deployment.database.load(dataset)
        machine = describe(deployment.database)
        work = workloads(dataset, self.keys)
        with ready([(service, deployment) for service in self.services], report) as servers:
            check_responses(servers, dataset, report)
            runner = BenchmarkRunner(self.plan, servers, dataset, report)
            runs = [run for workload in work for run in runner.measure(workload)]
        return self._written(work, runs, machine)

    def _written(self, work: Sequence[Workload], runs: Sequence[Run], machine: dict[str, str]) -> str:
        """Write the files, and return the tables."""
        keys = [service.key for service in self.services]
        results = [summarize(workload, keys, runs) for workload in work]
        raw = {
            "machine": machine,
            "plan": asdict(self.plan),
            "rows": {"users": self.users, "posts": self.posts},
            "services": {service.key: service.name for service in self.services},
            "results": [asdict(result) for result in results],
            "runs": [asdict(run) for run in runs],
        }
        self.output.mkdir(parents=True, exist_ok=True)
        (self.output / "bench.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
        drawn = chart.render(self.services, results, machine, rounds=self.plan.rounds)
        (self.output / "bench.svg").write_text(drawn, encoding="utf-8")
        return table.render(self.services, results, machine)
