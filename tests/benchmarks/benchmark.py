"""The whole benchmark over one database."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import chart
from tests.benchmarks.checks import check_responses
from tests.benchmarks.dataset import Dataset
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.machine import describe
from tests.benchmarks.runner import BenchmarkRunner, Plan
from tests.benchmarks.servers import SERVICES, Service, ready
from tests.benchmarks.summary import Report, summarize
from tests.benchmarks.workloads import WORKLOADS, workloads


def run_benchmark(
    plan: Plan,
    deployment: Deployment,
    dataset: Dataset,
    *,
    keys: Sequence[str],
    output: Path,
    report: Callable[[str], None],
    services: Sequence[Service] = SERVICES,
    notes: Mapping[str, str] | None = None,
) -> Report:
    """Write `bench.json` and `bench.svg`, and return the report. Raises BenchmarkError, and writes no file then.

    The services are measured at the workloads `keys`, after a check of their responses to all workloads.

    The deployment is prepared, and its database has no users and posts. The report contains the notes.
    """
    rows = {"users": len(dataset.users), "posts": len(dataset.posts)}
    report(f"loading {rows['users']:,} users and {rows['posts']:,} posts")
    deployment.database.load(dataset)
    machine = describe(deployment.database) | dict(notes or {})
    work = workloads(dataset, keys)
    with ready([(service, deployment) for service in services], report) as servers:
        check_responses(servers, dataset, workloads(dataset, WORKLOADS), report)
        runner = BenchmarkRunner(plan, servers, dataset, report)
        runs = [run for workload in work for run in runner.measure(workload)]
    results = [summarize(workload, [service.key for service in services], runs) for workload in work]
    names = {service.key: service.name for service in services}
    result = Report(machine=machine, plan=plan, rows=rows, services=names, results=results)
    raw = {**asdict(result), "runs": [asdict(run) for run in runs]}
    output.mkdir(parents=True, exist_ok=True)
    (output / "bench.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    (output / "bench.svg").write_text(chart.render(result), encoding="utf-8")
    return result
