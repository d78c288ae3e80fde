"""The working tree (B) beside a commit (A), and the commit beside itself (A'), which shows the noise.

Every round starts new processes: two processes of the same code differ in speed, by the layout of their memory and by
the seed of their hashes. This way the spread of the rounds includes that.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from adapters.testing.template_databases import Databases
from tests.benchmarks.checks import check_responses
from tests.benchmarks.database import BenchDatabase
from tests.benchmarks.dataset import Dataset
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.machine import describe
from tests.benchmarks.runner import BenchmarkRunner, Plan, Run
from tests.benchmarks.servers import PORT, ROOT, Service, ready
from tests.benchmarks.summary import ratios
from tests.benchmarks.verdicts import MIN_ROUNDS, interval, verdict
from tests.benchmarks.workloads import Workload
from tests.support.markdown import format_table
from tests.support.revisions import describe_working_tree, extract_revision

COMMIT, AGAIN, TREE = "A", "A'", "B"
_HEADS = ("work", "verdict", "A µs", "A' µs", "B µs", "noise A'/A", "(interval)", "B/A", "(interval)")
_LEGEND = (
    "µs: server CPU per request, saturated, median of the rounds. Ratios: median of the ratios within each round, and",
    f"their 95 % interval; with fewer than {MIN_ROUNDS} rounds their range. B is slower or faster if the interval of",
    "B/A excludes 1, and its median is farther from 1 than the median of A'/A.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source tree, with its letter and its name in the report."""

    key: str
    name: str
    root: Path


@contextmanager
def compared_sources(reference: str) -> Iterator[list[Source]]:
    """Yield a commit twice, and the working tree. Raises RevisionError if the commit does not exist."""
    with tempfile.TemporaryDirectory(prefix="hexapost-source-") as directory:
        root = Path(directory) / "source"
        name = f"{reference} ({extract_revision(reference, root)})"
        yield [
            Source(key=COMMIT, name=name, root=root),
            Source(key=AGAIN, name=f"{name} again", root=root),
            Source(key=TREE, name=f"working tree ({describe_working_tree()})", root=ROOT),
        ]


def compare(
    sources: Sequence[Source],
    dataset: Dataset,
    work: Sequence[Workload],
    *,
    plan: Plan,
    databases: Databases,
    report: Callable[[str], None],
) -> str:
    """Return the table of CPU per request. Raises BenchmarkError if a source tree does not serve."""
    services: list[tuple[Service, Deployment]] = []
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="hexapost-bench-") as directory:
        for source in sources:
            database = BenchDatabase(databases.empty())
            report(f"preparing {source.key}, {source.name}")
            state = Path(directory) / source.key
            deployment = Deployment(root=source.root, name=source.name, database=database, directory=state)
            deployment.prepare()
            database.load(dataset)
            command = (deployment.entry_point, "serve", PORT)
            services.append((Service(key=source.key, name=source.name, command=command), deployment))
        machine = describe(database)
        for number in range(1, plan.rounds + 1):
            with ready(services, report) as servers:
                if number == 1:
                    check_responses(servers, dataset, work, report)
                runner = BenchmarkRunner(plan, servers, dataset, report)
                for workload in work:
                    runner.warm_up(workload)
                    runs += runner.measure_round(workload, number)
    lines = [
        *(f"{source.key}: {source.name}" for source in sources),
        *(f"{name}: {value}" for name, value in machine.items()),
        "",
        *format_table([_HEADS, *(_row(workload, runs) for workload in work)], words=2),
        "",
        *_LEGEND,
    ]
    return "\n".join(lines) + "\n"


def _row(workload: Workload, runs: Sequence[Run]) -> Sequence[str]:
    own = [run for run in runs if run.workload == workload.key]
    cpu = {key: median(run.cpu_us for run in own if run.service == key) for key in (COMMIT, AGAIN, TREE)}
    noise, change = (ratios(own, key, COMMIT, lambda run: run.cpu_us) for key in (AGAIN, TREE))
    cells = [f"{value:,.0f}" for value in cpu.values()]
    for found in (interval(noise), interval(change)):
        cells += [f"{found.median:.3f}", f"{found.least:.3f}-{found.most:.3f}"]
    return [f"{workload.key} {workload.title}", verdict(change, noise), *cells]
