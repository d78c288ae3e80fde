"""The workflow of GitHub Actions. `make check` validates its schema, which does not cover references."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import yaml

WORKFLOW = Path(__file__).parents[2] / ".github/workflows/ci.yml"
JOBS: dict[str, dict[str, Any]] = yaml.safe_load(WORKFLOW.read_text())["jobs"]


def test_expressions_refer_to_the_matrix_of_their_job() -> None:
    for job in JOBS.values():
        matrix = job.get("strategy", {}).get("matrix", {})
        assert set(re.findall(r"\$\{\{ *matrix\.([\w-]+)", str(job))) == set(matrix)


def test_check_rejects_an_unknown_key(tmp_path: Path) -> None:
    makefile = (WORKFLOW.parents[2] / "Makefile").read_text()
    (arguments,) = re.findall(r"^\t\$\(BIN\)/check-jsonschema (.+) \.github/workflows/ci\.yml$", makefile, re.MULTILINE)
    copy = Path(shutil.copy(WORKFLOW, tmp_path))
    copy.write_text(copy.read_text().replace("timeout-minutes", "timeout-minute"))
    command = [Path(sysconfig.get_path("scripts"), "check-jsonschema"), *arguments.split()]
    for workflow, status in ((WORKFLOW, 0), (copy, 1)):
        done = subprocess.run([*command, workflow], capture_output=True, check=False)  # noqa: S603 - a tool of ours
        assert done.returncode == status
