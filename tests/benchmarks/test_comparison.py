"""Tests for `make bench AGAINST=REV`: verdict, source trees, errors and cleanup."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import PREFIX, TEMPLATE_LOCK, Databases, connected
from tests.benchmarks.__main__ import main
from tests.benchmarks.comparison import AGAIN, COMMIT, TREE, Source, compare
from tests.benchmarks.database import BenchDatabase
from tests.benchmarks.dataset import generated
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.runner import Plan
from tests.benchmarks.servers import ROOT
from tests.benchmarks.verdicts import interval, verdict
from tests.benchmarks.workloads import workloads
from tests.support.revisions import RevisionError, describe_working_tree

DATASET = generated(users=50, posts=100)
PLAN = Plan(rounds=1, seconds=0.1)
QUIET = [0.99, 1.01, 1.0, 1.0, 0.99, 1.01]
"""Ratios of a commit to itself on a quiet machine."""


@pytest.mark.parametrize(
    ("change", "noise", "expected"),
    [
        (QUIET, QUIET, "within noise"),
        ([1.04, 1.05, 1.06, 1.05, 1.04, 1.06], QUIET, "slower by 5.0%"),
        ([0.79, 0.80, 0.81, 0.80, 0.79, 0.81], QUIET, "faster by 20.0%"),
        ([1.04, 1.05, 1.06, 1.05, 0.99, 1.06], QUIET, "within noise"),
        ([1.04, 1.05, 1.06, 1.05, 1.04, 1.06], [1.06] * 6, "within noise"),
        ([1.04, 1.05, 1.06, 1.05, 1.04, 1.06], [0.94] * 6, "within noise"),
        ([0.94, 0.95, 0.96, 0.95, 0.94, 0.96], [1.06] * 6, "within noise"),
        ([1.04, 1.05, 1.06, 1.05, 1.04, 1.06], [0.5, 0.9, 1.0, 1.0, 1.1, 1.5], "slower by 5.0%"),
        ([2.0] * 5, [1.0] * 5, "too few rounds"),
    ],
)
def test_comparison_verdict_needs_a_change_beyond_the_noise(
    change: Sequence[float], noise: Sequence[float], expected: str
) -> None:
    assert verdict(change, noise) == expected


@pytest.mark.parametrize(("rounds", "rank"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (100, 40)])
def test_comparison_interval_has_the_ranks_of_the_sign_test(rounds: int, rank: int) -> None:
    found = interval([float(value) for value in range(rounds, 0, -1)])
    assert (found.least, found.median, found.most) == (rank, (rounds + 1) / 2, rounds + 1 - rank)


def test_comparison_rejects_an_unknown_revision(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--against", "no-such-revision"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: 'no-such-revision' is not a commit of this repository (git rev-parse: fatal: ")


def _tree(root: Path, body: str) -> Path:
    """Create a source tree with this body of its `hexapost` command."""
    root.mkdir()
    (root / "pyproject.toml").write_text('[project.scripts]\nhexapost = "planted_command:main"\n')
    (root / "planted_command.py").write_text(f"import os, sys\ndef main():\n    {body}\n")
    return root


def test_comparison_reports_the_last_lines_of_a_source_tree_that_fails(databases: Databases, tmp_path: Path) -> None:
    root = _tree(tmp_path / "source", "sys.exit('it is broken')")
    source = Source(key=COMMIT, name="HEAD~9 (1234567)", root=root)
    with pytest.raises(BenchmarkError, match=r"^HEAD~9 \(1234567\): hexapost migrate failed:\nit is broken$"):
        compare([source], DATASET, [], plan=PLAN, databases=databases, report=print)


def test_deployment_omits_a_setting_that_the_source_tree_rejects(scratch: URL, tmp_path: Path) -> None:
    body = "sys.exit(2 if 'HEXAPOST_RATE_LIMIT' in os.environ and sys.stderr.write('HEXAPOST_RATE_LIMIT: ?') else 0)"
    deployment = Deployment(
        root=_tree(tmp_path / "source", body),
        name="planted",
        database=BenchDatabase(scratch),
        directory=tmp_path / "state",
    )
    assert "HEXAPOST_RATE_LIMIT" in deployment.environment()
    deployment.prepare()
    assert "HEXAPOST_RATE_LIMIT" not in deployment.environment()


def test_bench_database_loads_rows_when_the_normalized_email_has_another_column(scratch: URL) -> None:
    with connected(scratch) as connection:
        connection.execute("ALTER TABLE users RENAME COLUMN email_normalized TO email_key")
        BenchDatabase(scratch).load(DATASET)
        row = connection.execute("SELECT count(*) FROM users WHERE email_key = email").fetchone()
    assert row == (50,)


def test_comparison_measures_three_servers(databases: Databases) -> None:
    names = {COMMIT: "the commit", AGAIN: "the commit again", TREE: "the tree"}
    sources = [Source(key=key, name=name, root=ROOT) for key, name in names.items()]
    said: list[str] = []
    work = workloads(DATASET, ["W1"])
    lines = compare(sources, DATASET, work, plan=PLAN, databases=databases, report=said.append).splitlines()
    assert lines[:3] == [f"{key}: {name}" for key, name in names.items()]
    (row,) = [line.split("|") for line in lines if line.startswith("| W1 ")]
    assert row[2].strip() == "too few rounds"
    cpu = [int(cell.replace(",", "")) for cell in row[3:6]]
    assert min(cpu) > 0
    assert float(row[8]) == pytest.approx(cpu[2] / cpu[0], abs=0.02)
    assert len([line for line in said if "correct responses" in line]) == 3


def test_comparison_removes_databases_and_files_when_interrupted(databases: Databases, tmp_path: Path) -> None:
    try:
        describe_working_tree()
    except RevisionError as error:
        pytest.skip(f"the tests are not in a repository: {error}")
    url = databases.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks", "--against", "HEAD", "--users", "50", "--posts", "100"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url, "TMPDIR": str(tmp_path), "PGAPPNAME": "interrupted"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("bench: preparing A,"):
                break
        assert len(list(tmp_path.iterdir())) == 2
        run = _run_of(databases, "interrupted")
        assert _databases(databases, run) != []
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "bench: stopped\n"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    assert _databases(databases, run) == []


def _run_of(databases: Databases, application: str) -> str:
    """Return the run id of the process with this application name, by the lock that it holds."""
    query = """
        SELECT lpad(to_hex(objid::bigint), 8, '0') FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND classid = %s AND objsubid = 1 AND application_name = %s
    """
    with connected(databases.url) as connection:
        ((run,),) = connection.execute(query, [TEMPLATE_LOCK, application]).fetchall()
    return str(run)


def _databases(databases: Databases, run: str) -> list[str]:
    """Return the names of the databases of a run."""
    query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
    with connected(databases.url) as connection:
        return [str(name) for (name,) in connection.execute(query, [f"{PREFIX}{run}_"])]
