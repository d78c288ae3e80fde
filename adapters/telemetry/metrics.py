"""What is measured, for Prometheus, by the conventions of its documentation ("Metric and label naming").

One process keeps its figures to itself. Several that serve together share a directory, which the variable
PROMETHEUS_MULTIPROC_DIR names before the first of them starts: each writes files of its own there, and whichever is
asked answers for all of them ("Multiprocess Mode" of prometheus_client).
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values

from adapters.telemetry.slots import forget, forget_the_dead, taken_slot
from application.ports import ConcurrentChangeError, StorageUnavailableError, TransientError

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
REFRESH_SECONDS = 1.0
"""How old the state of another process may be."""

UNMATCHED = "unmatched"
"""The route of every request for which there is none."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the durations that are told apart."""

_CAUSES: dict[type[TransientError], str] = {
    ConcurrentChangeError: "concurrent-change",
    StorageUnavailableError: "storage-unavailable",
    TransientError: "transient",
}


@contextmanager
def shared_figures() -> Iterator[Mapping[str, str]]:
    """Yield the variables for processes that are to be shown together; what they have counted goes with the block."""
    if os.environ.get(DIRECTORY):
        yield {}  # whoever set it sees to it
        return
    with TemporaryDirectory(prefix="hexapost-metrics-") as directory:
        yield {DIRECTORY: directory}


def shared_directory() -> Path | None:
    """Return the directory that this process shares with those that serve together with it, if there is one."""
    return Path(os.environ[DIRECTORY]) if os.environ.get(DIRECTORY) else None


class _Request(NamedTuple):
    """What is written for a request of one route, method and status."""

    counter: Counter
    duration: Histogram


class Metrics:
    """The instruments of one process, shown together with those of others if they share a directory."""

    def __init__(
        self, *, version: str, rejections: frozenset[str] = frozenset(), directory: Path | None = None
    ) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.directory = directory
        # Chosen by that, and not by the variable at the first import of the package.
        values.ValueClass = values.MutexValue
        if self.directory is not None:
            self._slot = taken_slot(self.directory)
            values.ValueClass = values.MultiProcessValue(lambda: self._slot)  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._in_flight = 0
        self._pool: Callable[[], tuple[int, int, int]] | None = None
        self._children: dict[tuple[str | None, str, int], _Request] = {}
        self._make_http(rejections)
        self._make_database()
        self._make_retention()
        build = self._gauge("hexapost_build_info", "The release that runs.", "livesum", "version")
        build.labels(version).set(1)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, together: str, *labels: str) -> Gauge:
        """Return a gauge; `together` says what those of several processes make, in the words of prometheus_client."""
        return Gauge(name, meaning, labels, registry=self._registry, multiprocess_mode=together)  # type: ignore[arg-type]

    def _make_http(self, rejections: frozenset[str]) -> None:
        self._requests = self._counter(
            "hexapost_http_requests_total", "Requests that were answered.", "route", "method", "status"
        )
        self._durations = Histogram(
            "hexapost_http_request_duration_seconds",
            "Time from the head of a request to the end of its response.",
            ("route", "method"),
            registry=self._registry,
            buckets=SECONDS,
        )
        self._requests_in_flight = self._gauge(
            "hexapost_http_requests_in_flight", "Requests that are being answered.", "livesum"
        )
        counter = self._counter("hexapost_rejections_total", "Requests that were turned away.", "reason")
        self._rejections = {reason: counter.labels(reason) for reason in sorted(rejections)}

    def _make_database(self) -> None:
        self._pool_size = self._gauge(
            "hexapost_database_pool_size", "Connections to the database that there can be.", "livesum"
        )
        self._pool_in_use = self._gauge(
            "hexapost_database_pool_in_use", "Connections to the database that are in use.", "livesum"
        )
        self._pool_waiting = self._gauge(
            "hexapost_database_pool_waiting", "Units of work that wait for a connection.", "livesum"
        )
        self._errors = self._counter(
            "hexapost_database_errors_total", "Errors of the database or the way to it, by SQLSTATE.", "sqlstate"
        )
        counter = self._counter("hexapost_retries_total", "Units of work that were tried again.", "cause")
        self._retries = {kind: counter.labels(cause) for kind, cause in _CAUSES.items()}

    def _make_retention(self) -> None:
        self._purge_lag = self._gauge(
            "hexapost_purge_lag_seconds", "For how long something has been there that has expired.", "mostrecent"
        )
        self._last_purge = self._gauge(
            "hexapost_last_purge_timestamp_seconds", "When what has expired was last removed.", "max"
        )

    def watch(self, pool: Callable[[], tuple[int, int, int]]) -> None:
        """Ask this for the state of the pool: its size, what is in use, and who waits."""
        self._pool = pool

    def began(self) -> None:
        """Count a request that begins."""
        self._in_flight += 1

    def ended(self, *, route: str | None, method: str, status: int, seconds: float, rejection: str | None) -> None:
        """Count a request that ended; `rejection` is why it was turned away, if it was."""
        self._in_flight -= 1
        request = self._children.get((route, method, status)) or self._child(route, method, status)
        request.counter.inc()
        request.duration.observe(seconds)
        if rejection in self._rejections:
            self._rejections[rejection].inc()

    def _child(self, route: str | None, method: str, status: int) -> _Request:
        name = route or UNMATCHED
        counter = self._requests.labels(name, method, str(status))
        request = _Request(counter, self._durations.labels(name, method))
        self._children[route, method, status] = request
        return request

    def retried(self, failure: TransientError) -> None:
        """Count a unit of work that is tried again after this failure."""
        next(self._retries[kind] for kind in type(failure).__mro__ if kind in self._retries).inc()

    def database_failed(self, sqlstate: str) -> None:
        """Count an error of the database."""
        self._errors.labels(sqlstate).inc()

    def purged(self) -> None:
        """Note that what has expired was removed now."""
        self._last_purge.set(time.time())

    def lags(self, seconds: float) -> None:
        """Note for how long something has been there that has expired."""
        self._purge_lag.set(seconds)

    def refresh(self) -> None:
        """Write down the present state of this process."""
        self._requests_in_flight.set(self._in_flight)
        if self._pool is not None:
            for gauge, value in zip(self._pool_gauges, self._pool(), strict=True):
                gauge.set(value)

    @property
    def _pool_gauges(self) -> tuple[Gauge, Gauge, Gauge]:
        return self._pool_size, self._pool_in_use, self._pool_waiting

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus, version 0.0.4. May be called in a thread."""
        self.refresh()
        if self.directory is None:
            return generate_latest(self._registry)
        forget_the_dead(self.directory)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together, self.directory)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def close(self) -> None:
        """Take the state of this process out of what the others show; what it counted stays."""
        if self.directory is not None:
            forget(self.directory, self._slot)
