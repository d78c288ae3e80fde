"""Load shedding: limits the number of concurrent requests, so that accepted requests stay fast."""

import math
from dataclasses import dataclass

MAX_CONCURRENT_REQUESTS = 256
"""Bursts fit in: at 1,100 small requests per second, 64 requests arrive while the process pauses for 60 ms."""

METRICS_RESERVE = 4
"""Additional requests for /metrics. They matter most under overload, but they need a key lookup."""


@dataclass(slots=True)
class ConcurrencyLimit:
    """A number of slots for requests. The request context counts the active requests.

    More requests than slots can be active, because a request does not occupy its slot while it waits for its client.
    """

    maximum: float = math.inf
    active_requests: int = 0


class AdmissionController:
    """Admits requests while slots are free. Probes are always admitted, and /metrics has a reserve."""

    def __init__(self, maximum: int = MAX_CONCURRENT_REQUESTS) -> None:
        self._limit = ConcurrencyLimit(maximum)
        probes = ConcurrencyLimit()
        self._reserves = {"/livez": probes, "/readyz": probes, "/metrics": ConcurrencyLimit(METRICS_RESERVE)}

    @property
    def active_requests(self) -> int:
        """The number of active requests, without those that use a reserve."""
        return self._limit.active_requests

    def find_slot(self, path: str) -> ConcurrencyLimit | None:
        """Return a limit with a free slot for a request, if any."""
        limit = self._limit
        if limit.active_requests >= limit.maximum:
            limit = self._reserves.get(path.rstrip("/"), limit)
        return limit if limit.active_requests < limit.maximum else None
