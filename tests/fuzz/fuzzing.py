"""Schemathesis over the running service on PostgreSQL: all checks, all phases, with a key of every scope."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from tests.cli.support import a_key, rendered, serving

HERE = Path(__file__).parent
EXAMPLES = 50
"""How many cases a round draws for each operation. Rounds are short, because in each the stateful phase ends for good
where hypothesis meets a state of the service that it cannot bring about again."""
FIRST_PHASES = "examples,coverage,fuzzing,stateful"
MORE_PHASES = "fuzzing,stateful"


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """Whether no case failed, how many there were, how many sequences of them, and what was printed."""

    passed: bool
    cases: int
    scenarios: int
    output: str


def fuzz(directory: Path, database: URL, *, cases: int, seed: int, show: Callable[[str], object]) -> Fuzzed:
    """Serve the database and fuzz the service, in rounds with a seed each, until there were so many cases.

    It ends with the first round in which one fails. `show` gets each line that is printed.
    """
    url = rendered(database)
    done = Fuzzed(passed=True, cases=0, scenarios=0, output="")
    with serving(directory, DATABASE_URL=url, HEXAPOST_RATE_LIMIT="none") as served:
        while done.passed and done.cases < cases:
            # A key of its own for each round, so that the idempotency keys of the rounds before are not known.
            variables = {"HEXAPOST_FUZZ_KEY": a_key(directory, DATABASE_URL=url), "PYTHONPATH": str(HERE)}
            words: list[str | Path] = [
                *("--config-file", HERE / "schemathesis.toml", "run", f"{served.base_url()}/openapi.json"),
                *("--checks", "all", "--phases", MORE_PHASES if done.cases else FIRST_PHASES),
                *("--max-examples", str(EXAMPLES), "--seed", str(seed), "--no-color"),
            ]
            status, output = _shown(words, directory, variables, show)
            done = Fuzzed(
                passed=status == 0,
                cases=done.cases + _count(r"(\d+) generated", output),
                scenarios=done.scenarios + _count(r"Scenarios: +(\d+)", output),
                output=done.output + output,
            )
            seed += 1
    return done


def _count(pattern: str, output: str) -> int:
    """Return the number that the output names; it must be there, or a round without cases would never end."""
    found = re.search(pattern, output)
    assert found is not None, output
    return int(found[1])


def _shown(
    words: list[str | Path], directory: Path, variables: dict[str, str], show: Callable[[str], object]
) -> tuple[int, str]:
    """Run schemathesis, and return its exit status and what it printed."""
    lines = []
    with subprocess.Popen(  # noqa: S603 - our own words
        [Path(sys.executable).with_name("schemathesis"), *words],
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
