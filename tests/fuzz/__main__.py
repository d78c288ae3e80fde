"""`python -m tests.fuzz`: fuzz the service on the server of DATABASE_URL or an embedded one, and print the progress."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.fuzzing import fuzz
from tests.support.benchmark_server import benchmark_databases, install_shutdown_handler


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 if all requested cases ran and passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="minimum number of cases (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the cases (%(default)s)")
    options = parser.parse_args(arguments)
    install_shutdown_handler()
    started = time.monotonic()
    with (
        benchmark_databases("fuzz-postgres", lambda line: _say(f"{line}\n")) as databases,
        tempfile.TemporaryDirectory(prefix="hexapost-fuzz-") as directory,
    ):
        database = databases.clone()
        fuzzed = fuzz(Path(directory), database, cases=options.cases, seed=options.seed, show=_say)
        databases.drop(database)
    passed = fuzzed.passed and fuzzed.cases >= options.cases
    seconds = time.monotonic() - started
    made = f"{fuzzed.cases} cases of {options.cases}, {fuzzed.scenarios} sequences, {seconds:.0f} s"
    _say(f"{'PASSED' if passed else 'FAILED'}: {made}\n")
    return 0 if passed else 1


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
