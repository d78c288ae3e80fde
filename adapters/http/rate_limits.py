"""Rate limits per API key, counted by the library `limits` in the process or in a shared store.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import structlog
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string

from adapters.http.middleware.request_limits import Header
from adapters.http.problems.catalog import RATE_LIMITED
from adapters.http.problems.responses import ProblemError

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
        self._policy = f'"requests";q={self._item.amount};w={self._item.get_expiry()}'
        self._store = _create_store(store)
        self._limiter = FixedWindowRateLimiter(self._store)
        self._logger = structlog.get_logger("hexapost.rates")
        self._next_warning_at = self._cooldown_until = 0.0

    async def count(self, api_key_id: str) -> Sequence[Header]:
        """Count a request, and return the rate limit headers. Raises ProblemError above the limit."""
        if time.monotonic() < self._cooldown_until:
            return ()
        try:
            is_allowed = await self._limiter.hit(self._item, api_key_id)
            reset_at, left = await self._limiter.get_window_stats(self._item, api_key_id)
        except Exception as error:  # noqa: BLE001 - each store raises different errors
            self._warn(error)
            return ()
        seconds = max(1, math.ceil(reset_at - time.time()))
        state = f'"requests";r={left if is_allowed else 0};t={seconds}'
        if not is_allowed:
            detail = f"Rate limit exceeded: {self._limit} for this API key. Retry after {seconds} s."
            headers = {"ratelimit-policy": self._policy, "ratelimit": state, "retry-after": str(seconds)}
            raise ProblemError(RATE_LIMITED, detail=detail, headers=headers)
        return (b"ratelimit-policy", self._policy.encode("ascii")), (b"ratelimit", state.encode("ascii"))

    async def close(self) -> None:
        """Close the connections to a shared store."""
        if isinstance(self._store, RedisStorage):
            bridge: Any = self._store.bridge  # its type hints are incomplete
            await bridge.get_connection().aclose()

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        self._cooldown_until = now + STORE_COOLDOWN_SECONDS
        if now >= self._next_warning_at:
            self._next_warning_at = now + WARNING_INTERVAL_SECONDS
            self._logger.warning(
                "rate limit store unavailable; requests are not limited", error_type=type(error).__name__
            )


def _create_store(url: str) -> Storage:
    if url == IN_PROCESS:
        return MemoryStorage()
    timeouts = {"socket_timeout": STORE_TIMEOUT_SECONDS, "socket_connect_timeout": STORE_TIMEOUT_SECONDS}
    store = storage_from_string(f"async+{url}", implementation="redispy", **timeouts)
    if not isinstance(store, Storage):
        raise TypeError(f"{type(store).__name__} is not an asynchronous store")
    return store
