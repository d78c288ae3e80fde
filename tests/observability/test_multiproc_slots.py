"""Tests for the slots of processes that share a metrics directory."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, values
from structlog.testing import capture_logs

from adapters.http.middleware.request_context import _METHODS
from adapters.http.problems import catalog
from adapters.http.problems.catalog import REJECTIONS, Problem
from adapters.observability.metrics import MULTIPROC_DIR_VARIABLE, Metrics
from adapters.observability.multiproc_slots import FILE_BYTES, acquire_slot, remove_dead_processes, select_storage
from tests.http.support import serving
from tests.observability.prometheus_samples import Scrape

REQUESTS = "hexapost_http_requests_total"
DURATION = "hexapost_http_request_duration_seconds"
GAUGE = "gauge_livesum_0.db"
ROUTE = "/api/v1/users/{user_id}"
ROOT = Path(__file__).parents[2]

# Count some requests and leave one in flight. Then print the metrics of all processes, or wait for the end.
WORKER = f"""
import sys
from adapters.observability.metrics import Metrics, multiproc_dir

metrics = Metrics(version="1", rejections=frozenset({{"overloaded"}}), directory=multiproc_dir())
metrics.set_pool_source(lambda: (10, 3, 1))
for _ in range(int(sys.argv[1])):
    metrics.request_started()
    metrics.request_finished(route="{ROUTE}", method="GET", status=200, seconds=0.02, rejection="overloaded")
metrics.request_started()
metrics.set_purge_lag(float(sys.argv[1]))
metrics.refresh()
print("ready", flush=True)
if sys.stdin.readline() == "show\\n":
    sys.stdout.write(metrics.render().decode())
metrics.close()
"""


class Worker:
    """A process that shares a metrics directory."""

    def __init__(self, directory: Path, requests: int) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-c", WORKER, str(requests)],
            env=os.environ | {MULTIPROC_DIR_VARIABLE: str(directory), "PYTHONPATH": str(ROOT)},
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> "Worker":
        """Wait until its requests are counted."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def ended(self, word: str = "quiet") -> str:
        """End it, and return the metrics if the word is `show`."""
        return self.process.communicate(f"{word}\n", timeout=30)[0]

    def killed(self) -> None:
        """Kill it, so that it cannot remove its gauges."""
        self.process.kill()
        self.process.communicate(timeout=30)


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix in {".db", ".lock"})


def test_metrics_of_all_processes_are_summed(tmp_path: Path) -> None:
    first, second, third, last = [Worker(tmp_path, requests) for requests in (2, 40, 300, 1000)]
    for worker in (first, second, third, last):
        worker.ready()
    assert sum(name.startswith("counter_") for name in files(tmp_path)) == 4
    found = Scrape(first.ended("show"))
    assert found.total(REQUESTS, route=ROUTE) == 1342
    assert found.total("hexapost_http_requests_rejected_total", reason="overloaded") == 1342
    assert found.total(f"{DURATION}_count") == 1342
    assert found.total(f"{DURATION}_bucket", le="0.025") == 1342
    assert found.total("hexapost_http_requests_in_flight") == 4
    assert found.total("hexapost_db_pool_connections_max") == 40
    assert found.total("hexapost_build_info", version="1") == 4
    assert not any("pid" in sample.labels for sample in found.samples)
    second.ended()
    third.killed()
    found = Scrape(last.ended("show"))
    assert found.total(REQUESTS) == 1342  # counters of ended processes remain
    assert found.total("hexapost_db_pool_connections_max") == 10  # gauges of ended processes do not


def test_storage_is_selected_for_new_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", None)
    for slot, name in ((7, "in_files"), (None, "in_memory")):
        select_storage(slot)
        Counter(name, "A counter.", registry=CollectorRegistry()).inc()
    changed = "prometheus_client does not use values.ValueClass any more; see select_storage"
    assert files(tmp_path) == ["counter_7.db"], changed
    assert b"in_files" in (content := (tmp_path / "counter_7.db").read_bytes()), changed
    assert b"in_memory" not in content, changed


def test_metrics_directory_does_not_grow_with_ended_processes(tmp_path: Path) -> None:
    lasting = Worker(tmp_path, 1).ready()
    sizes = set()
    for end in ("killed", "ended", "killed"):
        worker = Worker(tmp_path, 10).ready()
        sizes.add(len(files(tmp_path)))
        getattr(worker, end)()
    assert len(sizes) == 1
    found = Scrape(lasting.ended("show"))
    assert found.total(REQUESTS) == found.total(f"{DURATION}_count") == 31
    assert found.total("hexapost_purge_lag_seconds") == 10
    assert found.total("hexapost_http_requests_in_flight") == 1


def test_slots_are_unique_and_start_without_old_gauges(tmp_path: Path) -> None:
    (tmp_path / GAUGE).touch()
    (tmp_path / "counter_0.db").touch()
    assert [acquire_slot(tmp_path) for _ in range(3)] == [0, 1, 2]
    assert files(tmp_path) == ["0.lock", "1.lock", "2.lock", "counter_0.db"]


def test_gauges_are_removed_only_for_ended_processes(tmp_path: Path) -> None:
    acquire_slot(tmp_path)
    os.utime(tmp_path / "0.lock", (0, 0))
    for name in (GAUGE, "gauge_livesum_1.db", "counter_1.db", "1.lock"):
        (tmp_path / name).touch()
    for _ in range(2):
        remove_dead_processes(tmp_path)
        assert files(tmp_path) == ["0.lock", "1.lock", "counter_1.db", GAUGE]
    assert (tmp_path / "0.lock").stat().st_mtime > 0  # so that a cleaner of temporary files keeps it
    assert acquire_slot(tmp_path) == 1


def test_lock_of_another_account_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (GAUGE, "0.lock"):
        (tmp_path / name).touch()
    open_ = os.open

    def refuse_lock_0(path: Path, *rest: int) -> int:
        if path.name == "0.lock":
            raise PermissionError
        return open_(path, *rest)

    monkeypatch.setattr(os, "open", refuse_lock_0)
    remove_dead_processes(tmp_path)
    assert (tmp_path / GAUGE).exists()
    assert acquire_slot(tmp_path) == 1


def test_unwritable_metrics_directory_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (GAUGE, "0.lock"):
        (tmp_path / name).touch()
    monkeypatch.setattr(os, "open", Mock(side_effect=PermissionError))
    remove_dead_processes(tmp_path)
    assert (tmp_path / GAUGE).exists()
    with pytest.raises(PermissionError):
        acquire_slot(tmp_path)


async def test_allocated_files_hold_the_values_of_all_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", None)
    metrics = Metrics(version="1", rejections=REJECTIONS, directory=tmp_path)
    async with serving() as api:
        paths = [route.path for route in api.app.routes if isinstance(route, APIRoute)]
    assert len(paths) > 10
    statuses = {
        200,
        201,
        204,
        304,
        499,
        *(problem.status for problem in vars(catalog).values() if isinstance(problem, Problem)),
    }
    for route, method, status in product((*paths, None, "rejected"), (*_METHODS, "other"), statuses):
        metrics.request_started()
        metrics.request_finished(route=route, method=method, status=status, seconds=0.1, rejection=None)
    for number in range(400):
        metrics.count_database_error(f"{number:05}")
    sizes = {entry.name.removesuffix("_0.db"): entry.stat().st_size for entry in os.scandir(tmp_path)}
    assert sizes.pop("0.lock") == 0
    assert sizes == FILE_BYTES, "add the files to FILE_BYTES, or enlarge them"


@pytest.mark.parametrize("full", ["0.lock", "histogram_0.db"])
def test_full_file_system_stops_only_the_metrics_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", None)
    monkeypatch.setattr(Path, "open", _open_unless(full, Path.open))
    monkeypatch.setattr(os, "open", _open_unless(full, os.open))
    with capture_logs() as logs:
        metrics = Metrics(version="1", directory=tmp_path)
    assert [(line["log_level"], line["error_type"]) for line in logs] == [("warning", "No space left on device")]
    metrics.request_started()
    metrics.request_finished(route=ROUTE, method="GET", status=200, seconds=0.1, rejection=None)
    assert list(Scrape(metrics.render().decode()).found(REQUESTS)) == []
    metrics.close()
    monkeypatch.undo()
    worker = Worker(tmp_path, 5).ready()
    assert Scrape(worker.ended("show")).total(REQUESTS) == 5


def _open_unless(full: str, open_: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that opens files, and raises OSError for this one, as on a full file system."""

    def opened(path: Path, *arguments: Any) -> Any:
        if Path(path).name == full:
            if full.endswith(".db"):
                open_(path, *arguments).close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_(path, *arguments)

    return opened
