"""Admission: a limit of concurrent requests that adapts to their latency."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_CONCURRENT_REQUESTS = 256
"""Bursts fit in: at 1,100 small requests per second, 64 requests arrive while the process pauses for 60 ms."""

MIN_CONCURRENT_REQUESTS = 10
TARGET_LATENCY_SECONDS = 0.1
"""The mean latency above which the limit decreases. The slowest 1 % then take about twice as long."""
LATENCY_WINDOW_SECONDS = 0.05
TOLERANCE_SECONDS = 0.5
"""A full limit decreases only if the latency stays above the target for so long, as in CoDel (RFC 8289 section 3.2).

A shorter pause, such as a slow fsync of PostgreSQL, is no overload.
"""

METRICS_RESERVE = 4
"""Additional requests for /metrics. They matter most under overload, but they need a key lookup."""


@dataclass(slots=True)
class ConcurrencyLimit:
    """A number of slots for requests. The request context counts the active requests.

    More requests than slots can be active, because a request does not occupy its slot while it waits for its client.
    """

    maximum: float = math.inf
    active_requests: int = 0


class LatencyWindow:
    """Adapts the maximum of a limit to the latency of its requests, in windows of `LATENCY_WINDOW_SECONDS`.

    The formula is that of `Gradient2Limit` in Netflix's concurrency-limits, with a constant target: the maximum is
    multiplied by target / latency, between 0.5 and 1, and its square root is added for growth. The latency is the mean
    number of active requests divided by the rate of finished ones (J. Little, "A Proof for the Queuing Formula", 1961).
    While less than a quarter of the slots is in use, their number is not the cause of the latency.
    """

    def __init__(self, limit: ConcurrencyLimit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._initial = limit.maximum
        self._clock = clock
        self._slow_since = math.inf
        self.admitted = 0
        self._restart(clock())

    def _restart(self, now: float) -> None:
        self._started_at = now
        self._finished = self.admitted - self._limit.active_requests
        self._arrivals = self._sum = 0

    def record_arrival(self) -> None:
        """Sample the number of active requests. At the end of a window, adapt the maximum."""
        active, maximum, now = self._limit.active_requests, self._limit.maximum, self._clock()
        self._arrivals += 1
        self._sum += active
        elapsed = now - self._started_at
        finished = self.admitted - active - self._finished
        if elapsed < LATENCY_WINDOW_SECONDS or finished <= 0:
            return
        gradient = 1.0
        if 4 * active >= maximum:
            latency = self._sum / self._arrivals * elapsed / finished
            gradient = min(1.0, max(0.5, TARGET_LATENCY_SECONDS / latency))
        self._slow_since = min(self._slow_since, now) if gradient < 1.0 else math.inf
        if maximum == self._initial and now - self._slow_since < TOLERANCE_SECONDS:
            gradient = 1.0
        adapted = max(MIN_CONCURRENT_REQUESTS, maximum * gradient + math.sqrt(maximum))
        self._limit.maximum = min(self._initial, adapted)
        self._restart(now)


class AdmissionController:
    """Admits requests while slots are free. Probes are always admitted, and /metrics has a reserve.

    Above the target latency, fewer slots than `maximum` are free. `clock` is monotonic, in seconds.
    """

    def __init__(self, maximum: int = MAX_CONCURRENT_REQUESTS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = ConcurrencyLimit(maximum)
        self._window = LatencyWindow(self._limit, clock)
        probes = ConcurrencyLimit()
        self._reserves = {"/livez": probes, "/readyz": probes, "/metrics": ConcurrencyLimit(METRICS_RESERVE)}

    @property
    def active_requests(self) -> int:
        """The number of active requests, without those that use a reserve."""
        return self._limit.active_requests

    def find_slot(self, path: str) -> ConcurrencyLimit | None:
        """Return a limit with a free slot for a request, if any."""
        limit = self._limit
        self._window.record_arrival()
        if limit.active_requests < limit.maximum:
            self._window.admitted += 1
            return limit
        reserve = self._reserves.get(path.rstrip("/"), limit)
        return reserve if reserve.active_requests < reserve.maximum else None
