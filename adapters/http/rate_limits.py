"""Rate limits per API key, with fixed windows in the process, or in a shared store of the library `limits`.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any
from uuid import UUID

import structlog
from limits import parse
from limits.aio.storage import RedisStorage, Storage
from limits.storage import storage_from_string

from adapters.http.middleware.request_limits import Header
from adapters.http.problems.catalog import RATE_LIMITED
from adapters.http.problems.responses import ProblemError

Headers = tuple[Header, ...]

IN_PROCESS = "memory://"
"""A separate store in each process."""

STORE_TIMEOUT_SECONDS = 0.25
"""The time limit of a request to a shared store."""

STORE_COOLDOWN_SECONDS = 1.0
"""How long a failed store is not used, in seconds."""

WARNING_INTERVAL_SECONDS = 30.0
"""The shortest time between two warnings about a failed store, in seconds."""


class RateLimiter:
    """Allows a number of requests per window of time, such as 6000/minute, for each API key.

    If the store fails, all requests pass: a failed rate limit must not cause an outage.
    """

    def __init__(self, limit: str, store: str) -> None:
        self._limit = limit
        self._item = parse(limit)
        seconds = self._item.get_expiry()
        self._policy = f'"requests";q={self._item.amount};w={seconds}'
        self._policy_header: Header = (b"ratelimit-policy", self._policy.encode("ascii"))
        in_process = store.startswith(IN_PROCESS)
        self._windows = ProcessWindows(seconds) if in_process else SharedWindows(store, seconds)
        self._logger = structlog.get_logger("hexapost.rates")
        self._next_warning_at = self._cooldown_until = 0.0

    def count(self, api_key_id: UUID | None) -> Headers | Awaitable[Headers]:
        """Count a request, and return the rate limit headers, as an awaitable with a shared store.

        Raises ProblemError above the limit.
        """
        if isinstance(self._windows, ProcessWindows):
            return self._headers(*self._windows.count(api_key_id))
        return self._count_in(self._windows, self._item.key_for(str(api_key_id)))

    async def _count_in(self, windows: "SharedWindows", key: str) -> Headers:
        if time.monotonic() < self._cooldown_until:
            return ()
        try:
            found = await windows.count(key)
        except Exception as error:  # noqa: BLE001 - each store raises different errors
            self._warn(error)
            return ()
        return self._headers(*found)

    def _headers(self, count: int, remaining_seconds: float) -> Headers:
        """Return the rate limit headers. Raises ProblemError above the limit."""
        seconds = max(1, math.ceil(remaining_seconds))
        state = f'"requests";r={max(0, self._item.amount - count)};t={seconds}'
        if count > self._item.amount:
            detail = f"Rate limit exceeded: {self._limit} for this API key. Retry after {seconds} s."
            headers = {"ratelimit-policy": self._policy, "ratelimit": state, "retry-after": str(seconds)}
            raise ProblemError(RATE_LIMITED, detail=detail, headers=headers)
        return self._policy_header, (b"ratelimit", state.encode("ascii"))

    async def close(self) -> None:
        """Close the connections to a shared store."""
        if isinstance(self._windows, SharedWindows):
            await self._windows.close()

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        self._cooldown_until = now + STORE_COOLDOWN_SECONDS
        if now >= self._next_warning_at:
            self._next_warning_at = now + WARNING_INTERVAL_SECONDS
            self._logger.warning(
                "rate limit store unavailable; requests are not limited", error_type=type(error).__name__
            )


@dataclass(slots=True)
class _Window:
    ends_at: float
    requests: int = 0


class ProcessWindows:
    """Fixed windows in this process, on the monotonic clock.

    `MemoryStorage` of `limits` uses the time of day. If it is set back by one hour, active keys get 429 for one hour.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._windows: dict[Hashable, _Window] = {}

    def count(self, key: Hashable) -> tuple[int, float]:
        """Count a request. Return the requests in the window of the key and its remaining seconds."""
        now = time.monotonic()
        window = self._windows.get(key)
        if window is None or window.ends_at <= now:
            # All windows have the same length, so the first windows in the dictionary end first.
            for expired in list(takewhile(lambda name: self._windows[name].ends_at <= now, self._windows)):
                del self._windows[expired]
            window = self._windows[key] = _Window(now + self._seconds)
        window.requests += 1
        return window.requests, window.ends_at - now


class SharedWindows:
    """Fixed windows in a store that processes share."""

    def __init__(self, url: str, seconds: int) -> None:
        timeouts = {"socket_timeout": STORE_TIMEOUT_SECONDS, "socket_connect_timeout": STORE_TIMEOUT_SECONDS}
        store = storage_from_string(f"async+{url}", implementation="redispy", **timeouts)
        if not isinstance(store, Storage):
            raise TypeError(f"{type(store).__name__} is not an asynchronous store")
        self._store = store
        self._seconds = seconds

    async def count(self, key: str) -> tuple[int, float]:
        """Count a request. Return the requests in the window of the key and its remaining seconds."""
        requests, remaining = await self._count(key)
        if remaining > self._seconds + 1:  # the clock of the store was set back, which extends the window
            await self._store.clear(key)
            requests, remaining = await self._count(key)
        return requests, remaining

    async def _count(self, key: str) -> tuple[int, float]:
        requests = await self._store.incr(key, self._seconds)
        return requests, await self._store.get_expiry(key) - time.time()

    async def close(self) -> None:
        """Close the connections."""
        if isinstance(self._store, RedisStorage):
            bridge: Any = self._store.bridge  # its type hints are incomplete
            await bridge.get_connection().aclose()
