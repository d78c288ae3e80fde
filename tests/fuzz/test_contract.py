"""Schemathesis over the running service on PostgreSQL: all checks, all phases, at least 2,000 cases."""

import os
import re
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL

from tests.cli.support import rendered, serving

HERE = Path(__file__).parent
LEAST_CASES = 2000
EXAMPLES = 190


def test_no_case_breaks_the_contract(tmp_path: Path, scratch: URL) -> None:
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        outcome = subprocess.run(  # noqa: S603 - our own words
            [
                Path(sys.executable).with_name("schemathesis"),
                *("--config-file", HERE / "schemathesis.toml", "run", f"{served.base_url()}/openapi.json"),
                *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
                *("--max-examples", str(EXAMPLES), "--seed", "1", "--no-color"),
            ],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(HERE)},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
    assert outcome.returncode == 0, outcome.stdout
    counts = [int(number) for number in re.findall(r"(\d+) generated", outcome.stdout)]
    assert sum(counts) >= LEAST_CASES, outcome.stdout
