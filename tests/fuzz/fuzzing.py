"""Schemathesis against the running service: all checks, all phases, and an API key with all scopes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from tests.cli.support import create_api_key, rendered, serving

HERE = Path(__file__).parent
EXAMPLES = 50
"""Cases per operation in a round. Rounds are short: the stateful phase of a round ends when Hypothesis meets a state
of the service that it cannot reproduce."""
FIRST_PHASES = "examples,coverage,fuzzing,stateful"
MORE_PHASES = "fuzzing,stateful"


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """Result: numbers of cases and of sequences, and the output of Schemathesis."""

    passed: bool
    cases: int
    scenarios: int
    output: str


def fuzz(directory: Path, database: URL, *, cases: int, seed: int, show: Callable[[str], object]) -> Fuzzed:
    """Run rounds until the number of cases is reached or a case fails. Pass each line of output to `show`."""
    url = rendered(database)
    done = Fuzzed(passed=True, cases=0, scenarios=0, output="")
    with serving(directory, DATABASE_URL=url, HEXAPOST_RATE_LIMIT="none") as served:
        while done.passed and done.cases < cases:
            # With a new API key, the Idempotency-Keys of earlier rounds are unknown.
            variables = {"HEXAPOST_FUZZ_KEY": create_api_key(directory, DATABASE_URL=url), "PYTHONPATH": str(HERE)}
            arguments: list[str | Path] = [
                *("--config-file", HERE / "schemathesis.toml", "run", f"{served.base_url()}/openapi.json"),
                *("--checks", "all", "--phases", MORE_PHASES if done.cases else FIRST_PHASES),
                *("--max-examples", str(EXAMPLES), "--seed", str(seed), "--no-color"),
            ]
            status, output = _run(arguments, directory, variables, show)
            done = Fuzzed(
                passed=status == 0,
                cases=done.cases + _count(r"(\d+) generated", output),
                scenarios=done.scenarios + _count(r"Scenarios: +(\d+)", output),
                output=done.output + output,
            )
            seed += 1
    return done


def _count(pattern: str, output: str) -> int:
    """Return the number in the output; without it, rounds would never end."""
    found = re.search(pattern, output)
    assert found is not None, output
    return int(found[1])


def _run(
    arguments: list[str | Path], directory: Path, variables: dict[str, str], show: Callable[[str], object]
) -> tuple[int, str]:
    lines = []
    with subprocess.Popen(  # noqa: S603 - our own arguments
        [Path(sys.executable).with_name("schemathesis"), *arguments],
        cwd=directory,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            show(line)
    return process.returncode, "".join(lines)
