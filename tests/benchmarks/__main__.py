"""`python -m tests.benchmarks`: measure on DATABASE_URL's server or an embedded one, print a table, draw a chart.

With `--publish` the results replace those in docs/. With `--against REV` the working tree is compared with a commit,
without a chart.
"""

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg

from adapters.embedded import EmbeddedPostgresError
from tests.benchmarks import publication, table
from tests.benchmarks.benchmark import run_benchmark
from tests.benchmarks.comparison import compare, compared_sources
from tests.benchmarks.database import BenchDatabase
from tests.benchmarks.dataset import generated
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.peers import install_peers
from tests.benchmarks.runner import Plan
from tests.benchmarks.servers import SERVICES
from tests.benchmarks.summary import Report
from tests.benchmarks.workloads import WORKLOADS, workloads
from tests.support import generated_docs
from tests.support.benchmark_server import ROOT, at_least, benchmark_databases, install_shutdown_handler
from tests.support.revisions import RevisionError

MIN_SECONDS = 0.1
MIN_ROWS = 50  # an inactive user is among them
FULL, QUICK = Plan(rounds=5, seconds=4.0), Plan(rounds=2, seconds=1.0)
AGAINST = Plan(rounds=12, seconds=1.0)
MISUSED = 2
NOT_SHOWN = "several workers, the CPU of PostgreSQL, the network, TLS, faults and overload: see docs/benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status: 0 if all was measured, 1 for a failure, 2 for a wrong commit."""
    options = _options(arguments)
    install_shutdown_handler()
    try:
        lines = _compare(options) if options.against else table.render(_measure(options))
    except RevisionError as error:
        _say(f"{options.against!r} is not a commit of this repository ({error})")
        return MISUSED
    except (BenchmarkError, EmbeddedPostgresError, psycopg.Error, ValueError) as error:
        _say(f"no result: {error}")
        return 1
    except KeyboardInterrupt:
        _say("stopped")
        return 128 + signal.SIGINT
    sys.stdout.write(lines)
    return 0


def _measure(options: argparse.Namespace) -> Report:
    with (
        benchmark_databases("bench-postgres", _say) as databases,
        tempfile.TemporaryDirectory(prefix="hexapost-bench-") as directory,
    ):
        database = BenchDatabase(databases.empty())
        deployment = Deployment(root=ROOT, name="Hexapost", database=database, directory=Path(directory))
        deployment.prepare()
        dataset = generated(users=options.users or 10_000, posts=options.posts or 100_000)
        peers, notes = install_peers(_say) if options.peers else ([], {})
        report = run_benchmark(
            _plan(options, FULL),
            deployment,
            dataset,
            keys=options.workloads,
            output=options.output,
            report=_say,
            services=(*SERVICES, *peers),
            notes={"repeat": options.command, "not shown": NOT_SHOWN, **notes},
        )
    _say(f"all rounds are in {options.output / 'bench.json'}, the picture is {options.output / 'bench.svg'}")
    if options.publish:
        publication.publish(report)
        generated_docs.main([])
    return report


def _compare(options: argparse.Namespace) -> str:
    dataset = generated(users=options.users or 1_000, posts=options.posts or 10_000)
    work = workloads(dataset, options.workloads)
    with compared_sources(options.against) as sources, benchmark_databases("bench-postgres", _say) as databases:
        return compare(sources, dataset, work, plan=_plan(options, AGAINST), databases=databases, report=_say)


def _plan(options: argparse.Namespace, full: Plan) -> Plan:
    given = {name: value for name in ("rounds", "seconds") if (value := getattr(options, name))}
    return replace(QUICK if options.quick else full, **given)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--against", metavar="REV", help="compare the working tree with this commit")
    parser.add_argument("--peers", action="store_true", help="also measure services on other frameworks")
    parser.add_argument("--publish", action="store_true", help="write the results to docs/benchmarks.md and docs/img")
    parser.add_argument("--rounds", type=at_least(1), help="turns of each service (5, with --against 12)")
    parser.add_argument("--seconds", type=at_least(MIN_SECONDS), help="length of each turn (4, with --against 1)")
    parser.add_argument("--workloads", type=_keys, default=list(WORKLOADS), help="such as W1,W3 (all)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second: to see that it works")
    parser.add_argument("--users", type=at_least(MIN_ROWS), help="rows of users (10,000, with --against 1,000)")
    parser.add_argument("--posts", type=at_least(MIN_ROWS), help="rows of posts (100,000, with --against 10,000)")
    parser.add_argument("--output", type=Path, default=Path("report"), help="directory of the results (%(default)s)")
    given = sys.argv[1:] if arguments is None else list(arguments)
    return parser.parse_args(
        given, argparse.Namespace(command=shlex.join(["python", "-m", "tests.benchmarks", *given]))
    )


def _keys(text: str) -> list[str]:
    keys = text.upper().split(",")
    if unknown := sorted(set(keys) - set(WORKLOADS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(WORKLOADS)}")
    return keys


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
