"""Prometheus metrics ("Metric and label naming" in the documentation of Prometheus).

A single process keeps its metrics in memory. Several workers share the directory in PROMETHEUS_MULTIPROC_DIR: each
writes separate files, and each can serve the metrics of all ("Multiprocess Mode" of prometheus_client).
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Literal

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from adapters.observability.multiproc_slots import (
    acquire_slot,
    allocate_files,
    remove_dead_processes,
    remove_live_gauges,
    select_storage,
)
from application.ports import ConcurrentUpdateError, StorageUnavailableError, TransientStorageError
from application.retention import RetentionRule

MULTIPROC_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
REFRESH_SECONDS = 1.0
"""The maximum age of the state that a process publishes."""

UNMATCHED = "unmatched"
"""The route label of requests to unknown paths."""

DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the histogram buckets."""

_DIRECTORY_PREFIX = "hexapost-metrics-"

GaugeMode = Literal["livesum", "mostrecent", "max"]

_CAUSES: dict[type[TransientStorageError], str] = {
    ConcurrentUpdateError: "concurrent-change",
    StorageUnavailableError: "storage-unavailable",
    TransientStorageError: "transient",
}


@contextmanager
def temporary_multiproc_dir() -> Iterator[Mapping[str, str]]:
    """Create a temporary multiprocess directory, yield its environment variable, and delete it at the end."""
    if os.environ.get(MULTIPROC_DIR_VARIABLE):
        yield {}  # the operator manages the directory
        return
    _remove_abandoned_directories()
    with TemporaryDirectory(prefix=_DIRECTORY_PREFIX) as directory:
        lock = os.open(directory, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield {MULTIPROC_DIR_VARIABLE: directory}
        finally:
            os.close(lock)


def _remove_abandoned_directories() -> None:
    """Remove the directories of processes that were killed: they have files, but no lock."""
    for path in Path(gettempdir()).glob(f"{_DIRECTORY_PREFIX}*"):
        with suppress(OSError), ExitStack() as stack:  # other users' directories
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(path.iterdir()):  # else its process has not locked it yet
                shutil.rmtree(path)


def multiproc_dir() -> Path | None:
    """Return the multiprocess directory, None for a single process."""
    return Path(os.environ[MULTIPROC_DIR_VARIABLE]) if os.environ.get(MULTIPROC_DIR_VARIABLE) else None


def _acquire_files(directory: Path) -> int | None:
    """Return a slot with allocated files, None if the file system is full. Other errors are raised."""
    try:
        slot = acquire_slot(directory)
        allocate_files(directory, slot)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        structlog.get_logger("hexapost.metrics").warning(
            "metrics of this process are not reported; free space in the metrics directory and restart",
            error_type=os.strerror(error.errno),
        )
        return None
    return slot


class Metrics:
    """The metrics of one process, or of all processes that share a directory."""

    def __init__(
        self, *, version: str, rejections: frozenset[str] = frozenset(), directory: Path | None = None
    ) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.directory = directory
        self._slot = None if directory is None else _acquire_files(directory)
        select_storage(self._slot)
        self._registry = CollectorRegistry()
        self.label_names: dict[str, tuple[str, ...]] = {}
        """The label names of each metric, for its documentation."""
        self._in_flight = 0
        self._pool: Callable[[], tuple[int, int, int]] | None = None
        self._children: dict[tuple[str | None, str, int], tuple[Counter, Histogram]] = {}
        self._create_http_metrics(rejections)
        self._create_database_metrics()
        self._create_retention_metrics()
        build = self._gauge("hexapost_build_info", "Build information; the value is always 1.", "version")
        build.labels(version).set(1)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        self.label_names[name] = labels
        return Counter(name, help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str, mode: GaugeMode = "livesum") -> Gauge:
        """Return a gauge. `mode` combines the values of several processes."""
        self.label_names[name] = labels
        return Gauge(name, help_text, labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(self, name: str, help_text: str, *labels: str) -> Histogram:
        self.label_names[name] = labels
        return Histogram(name, help_text, labels, registry=self._registry, buckets=DURATION_BUCKETS)

    def _create_http_metrics(self, rejections: frozenset[str]) -> None:
        self._requests = self._counter(
            "hexapost_http_requests_total", "HTTP requests, by route, method and status.", "route", "method", "status"
        )
        self._durations = self._histogram(
            "hexapost_http_request_duration_seconds",
            "Seconds from the headers of an HTTP request to the end of its response.",
            "route",
            "method",
        )
        self._requests_in_flight = self._gauge("hexapost_http_requests_in_flight", "HTTP requests in progress.")
        counter = self._counter("hexapost_http_requests_rejected_total", "HTTP requests rejected, by reason.", "reason")
        self._rejections = {reason: counter.labels(reason) for reason in sorted(rejections)}

    def _create_database_metrics(self) -> None:
        self._pool_gauges = (
            self._gauge("hexapost_db_pool_connections_max", "Maximum number of pooled database connections."),
            self._gauge("hexapost_db_pool_connections_in_use", "Pooled database connections in use."),
            self._gauge("hexapost_db_pool_waiters", "Transactions that wait for a database connection."),
        )
        self._errors = self._counter("hexapost_db_errors_total", "Database errors, by SQLSTATE.", "sqlstate")
        counter = self._counter(
            "hexapost_db_transaction_retries_total", "Retries of database transactions, by cause.", "cause"
        )
        self._retries = {kind: counter.labels(cause) for kind, cause in _CAUSES.items()}

    def _create_retention_metrics(self) -> None:
        counter = self._counter("hexapost_purged_rows_total", "Rows that the purge deleted, by rule.", "rule")
        self._purged = {rule: counter.labels(rule) for rule in RetentionRule}
        self._purge_lag = self._gauge(
            "hexapost_purge_lag_seconds",
            "Age in seconds of the oldest expired record that has not been purged.",
            mode="mostrecent",
        )
        self._last_purge = self._gauge(
            "hexapost_last_purge_timestamp_seconds", "Unix time of the last completed purge.", mode="max"
        )

    def set_pool_source(self, pool: Callable[[], tuple[int, int, int]]) -> None:
        """Set the source of the pool metrics: size, connections in use, waiting transactions."""
        self._pool = pool

    def request_started(self) -> None:
        """Record the start of a request."""
        self._in_flight += 1

    def request_finished(
        self, *, route: str | None, method: str, status: int, seconds: float, rejection: str | None
    ) -> None:
        """Record the end of a request. `rejection` is the problem code of its response."""
        self._in_flight -= 1
        labels = route, method, status
        requests, durations = self._children.get(labels) or self._create_children(*labels)
        requests.inc()
        durations.observe(seconds)
        if rejection in self._rejections:
            self._rejections[rejection].inc()

    def _create_children(self, route: str | None, method: str, status: int) -> tuple[Counter, Histogram]:
        """Create the counter and the histogram of these labels. They are kept, because `labels` is slow."""
        name = route or UNMATCHED
        children = self._requests.labels(name, method, str(status)), self._durations.labels(name, method)
        self._children[route, method, status] = children
        return children

    def count_retry(self, failure: TransientStorageError) -> None:
        """Record a retry after this error."""
        next(self._retries[kind] for kind in type(failure).__mro__ if kind in self._retries).inc()

    def count_database_error(self, sqlstate: str) -> None:
        """Record a database error."""
        self._errors.labels(sqlstate).inc()

    def count_purged(self, rule: RetentionRule, rows: int) -> None:
        """Record the rows that a batch of the purge deleted."""
        self._purged[rule].inc(rows)

    def record_purge(self) -> None:
        """Record the completion of a purge."""
        self._last_purge.set(time.time())

    def set_purge_lag(self, seconds: float) -> None:
        """Record the age of the oldest expired record."""
        self._purge_lag.set(seconds)

    def refresh(self) -> None:
        """Update the gauges of this process."""
        self._requests_in_flight.set(self._in_flight)
        if self._pool is not None:
            for gauge, value in zip(self._pool_gauges, self._pool(), strict=True):
                gauge.set(value)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format 0.0.4. It can run in a thread."""
        self.refresh()
        if self.directory is None:
            return generate_latest(self._registry)
        remove_dead_processes(self.directory)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, self.directory)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def close(self) -> None:
        """Remove the gauges of this process. Its counters remain."""
        if self.directory is not None and self._slot is not None:
            remove_live_gauges(self.directory, self._slot)
