"""Load shedding: limits the number of concurrent requests, so that accepted requests stay fast."""

import math

MAX_CONCURRENT_REQUESTS = 256
"""Bursts fit in: at 1,100 small requests per second, 64 requests arrive while the process pauses for 60 ms."""

METRICS_RESERVE = 4
"""Additional requests for /metrics. They matter most under overload, but they need a key lookup."""

_PROBES = frozenset({"/livez", "/readyz"})
_METRICS = "/metrics"


class ConcurrencyLimit:
    """A number of slots for requests. A request that waits for its client does not occupy a slot."""

    __slots__ = ("active_requests", "maximum")

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum
        self.active_requests = 0

    @property
    def is_exceeded(self) -> bool:
        """Return True if more requests are active than slots exist, which happens when clients resume."""
        return self.active_requests > self.maximum

    def release(self) -> None:
        """Free the slot of a request."""
        self.active_requests -= 1

    def reacquire(self) -> None:
        """Occupy a slot for a request that was admitted before, even if none is free."""
        self.active_requests += 1


class AdmissionController:
    """Admits requests while slots are free. Probes are always admitted, and /metrics has a reserve."""

    __slots__ = ("_metrics_reserve", "_probes", "_requests")

    def __init__(self, maximum: int = MAX_CONCURRENT_REQUESTS) -> None:
        self._requests = ConcurrencyLimit(maximum)
        self._metrics_reserve = ConcurrencyLimit(METRICS_RESERVE)
        self._probes = ConcurrencyLimit(math.inf)

    @property
    def active_requests(self) -> int:
        """The number of active requests, without those that use a reserve."""
        return self._requests.active_requests

    def acquire(self, path: str) -> ConcurrencyLimit | None:
        """Occupy a slot, and return the limit to which it belongs, None if no slot is free."""
        limit = self._requests
        if limit.active_requests >= limit.maximum:
            path = path.rstrip("/")
            if path in _PROBES:
                limit = self._probes
            elif path == _METRICS:
                limit = self._metrics_reserve
            if limit.active_requests >= limit.maximum:
                return None
        limit.active_requests += 1
        return limit
