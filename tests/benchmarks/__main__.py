"""`python -m tests.benchmarks`: measure on DATABASE_URL's server or an embedded one, print a table, draw a picture."""

import argparse
import math
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

from adapters.embedded import EmbeddedPostgresError
from tests.benchmarks.benchmark import Benchmark
from tests.benchmarks.campaign import Plan
from tests.benchmarks.database import scratch_database
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.workloads import WORKLOADS
from tests.support.commands import ROOT, end_in_order, measured_server

SHORTEST = 0.1
FEWEST_ROWS = 50  # an inactive user is among them
QUICK = Plan(rounds=2, seconds=1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status: 0 measured (whatever the figures), 1 not."""
    options = _options(arguments)
    end_in_order()
    plan = QUICK if options.quick else Plan(rounds=options.rounds, seconds=options.seconds)
    benchmark = Benchmark(
        plan=plan, output=options.output, users=options.users, posts=options.posts, keys=options.workloads
    )
    try:
        with (
            measured_server("bench-postgres", _say) as url,
            scratch_database(url) as database,
            tempfile.TemporaryDirectory(prefix="hexapost-bench-") as directory,
        ):
            deployment = Deployment(root=ROOT, name="Hexapost", database=database, directory=Path(directory))
            deployment.prepare()
            table = benchmark.run(deployment, _say)
    except (BenchmarkError, EmbeddedPostgresError, psycopg.Error, ValueError) as error:
        _say(f"no result: {error}")
        return 1
    except KeyboardInterrupt:
        _say("stopped")
        return 128 + signal.SIGINT
    _say(f"all rounds are in {options.output / 'bench.json'}, the picture is {options.output / 'bench.svg'}")
    sys.stdout.write(table)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=5, help="turns of each service (%(default)s)")
    parser.add_argument("--seconds", type=_duration, default=4.0, help="length of each turn (%(default)s)")
    parser.add_argument("--workloads", type=_keys, default=list(WORKLOADS), help="such as W1,W3 (all)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second: to see that it works")
    parser.add_argument("--users", type=_enough, default=10_000, help="rows of users (%(default)s)")
    parser.add_argument("--posts", type=_enough, default=100_000, help="rows of posts (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("report"), help="directory of the results (%(default)s)")
    return parser.parse_args(arguments)


def _keys(text: str) -> list[str]:
    keys = text.upper().split(",")
    if unknown := sorted(set(keys) - set(WORKLOADS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(WORKLOADS)}")
    return keys


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _duration(text: str) -> float:
    seconds = float(text)
    if not SHORTEST <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be at least {SHORTEST}")
    return seconds


def _enough(text: str) -> int:
    number = int(text)
    if number < FEWEST_ROWS:
        raise argparse.ArgumentTypeError(f"must be at least {FEWEST_ROWS}")
    return number


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
