"""Tests for the benchmark: it accepts only correct responses, reports every run, and leaves no process behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import Databases, connected
from tests.benchmarks import database as database_module
from tests.benchmarks import table
from tests.benchmarks.benchmark import run_benchmark
from tests.benchmarks.database import BenchDatabase
from tests.benchmarks.dataset import generated
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.errors import WrongResponseError
from tests.benchmarks.runner import Plan
from tests.benchmarks.servers import HEXAPOST, HOST, ROOT, SERVICES, UVICORN, Service
from tests.benchmarks.summary import Report

SMALL = ["--users", "50", "--posts", "500"]

WRONG = {
    "a value": "right._GET_USER = right._GET_USER.replace('version', 'version + 1 AS version')",
    "an order": "right._LIST_POSTS = right._LIST_POSTS.replace('DESC', 'ASC')",
    "a status": "right._INACTIVE = right._INVALID",
    "a row that is not stored": (
        "right._ADD_POST = '''SELECT $1::uuid AS id, $2::uuid AS author_id, $3::text AS title, $4::text AS content, "
        "'draft' AS status, NULL AS published_at, $5::timestamptz AS created_at, $5::timestamptz AS updated_at, "
        "1 AS version'''"
    ),
    "an update of an old version": "right._UPDATE_USER = right._UPDATE_USER.replace('version = $2', '$2 > 0')",
    "a second execution": "right._ADD_RECORD = 'SELECT $1::text, $2::bytea'",
    "an order of search results": "right._SEARCH_POSTS = right._SEARCH_POSTS.replace(', id DESC', ', id ASC')",
}


def _run(scratch: URL, directory: Path, report: Callable[[str], None], *services: Service) -> Report:
    """Run a small benchmark, with the report in `directory`/report."""
    deployment = Deployment(root=ROOT, name="Hexapost", database=BenchDatabase(scratch), directory=directory)
    if HEXAPOST in services:
        deployment.prepare()
    plan, dataset = Plan(rounds=1, seconds=0.2, connections=4), generated(users=50, posts=500)
    output = directory / "report"
    return run_benchmark(plan, deployment, dataset, keys=["W4"], output=output, report=report, services=services)


def test_databases_of_a_killed_run_are_dropped_by_the_next(databases: Databases) -> None:
    killed, following = (Databases(databases.url, run=run, worker="bench") for run in ("0000dead", "0000beef"))
    with killed.opened(), connected(databases.url) as connection:
        left = killed.empty()
        with following.opened():
            assert _is_there(databases, left)
        connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE objid = x'dead'::int")
        with following.opened():
            own = following.empty()
            assert not _is_there(databases, left)
            assert _is_there(databases, own)
        assert not _is_there(databases, own)


def test_a_small_run_checks_measures_and_reports(scratch: URL, tmp_path: Path) -> None:
    said: list[str] = []
    report = _run(scratch, tmp_path, said.append, *SERVICES)
    lines = table.render(report)
    assert len([line for line in said if re.fullmatch(r"\w gave \d{2,3} correct responses.*", line)]) == len(SERVICES)
    assert lines.splitlines()[-1].startswith("targets of CPU per request: ")
    assert all(f"| W4   | {service.key} {service.name} " in lines for service in SERVICES)
    written = json.loads((tmp_path / "report" / "bench.json").read_text())
    services = [service.key for service in SERVICES]
    assert [(run["workload"], run["rate"] is None, run["service"]) for run in written["runs"]] == [
        ("W4", saturated, service) for saturated in (True, False) for service in services
    ]
    assert all(run["completed"] >= 4 for run in written["runs"] if run["rate"] is None)
    assert ET.parse(tmp_path / "report" / "bench.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own
    BenchDatabase(scratch).await_writes(generated(users=50, posts=500), 0)


@pytest.mark.parametrize("plant", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_response_ends_the_benchmark(
    scratch: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    (tmp_path / "planted.py").write_text(
        f"import tests.benchmarks.baseline_raw_asgi as right\n{plant}\napp = right.app\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(database_module, "COMMIT_SECONDS", 0.1)
    wrong = Service(key="w", name="planted", command=(*UVICORN, "planted:app"))

    with pytest.raises(WrongResponseError):
        _run(scratch, tmp_path, print, wrong)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_signal_leaves_nothing_running(
    databases: Databases, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent has been killed")
    url = databases.url.render_as_string(hide_password=False)
    environment = os.environ | {"DATABASE_URL": url, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.benchmarks", *SMALL, "--output", str(tmp_path), "--seconds", "60"]
    with subprocess.Popen(  # noqa: S603 - our own
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        ports = []
        for line in process.stderr:
            ports += [int(port) for port in re.findall(r"is ready on port (\d+)", line)]
            if line.startswith("bench: f gave"):
                break
        time.sleep(0.3)  # the load generator is at work now
        process.send_signal(number)
        process.stderr.read()

    assert process.returncode == status
    assert len(ports) == len(SERVICES)
    deadline = time.monotonic() + 15
    while any(map(_listens, ports)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [port for port in ports if _listens(port)]
    with Databases(databases.url, run="0000beef", worker="bench").opened():
        """The databases of killed runs are dropped."""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _is_there(databases: Databases, url: URL) -> bool:
    with connected(databases.url) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [url.database]).fetchone()
    return found is not None
