"""Rate limits: how many requests a key may make, counted by the library `limits`, here or in a store shared by all.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from typing import Any, Protocol, cast

import structlog
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string
from typing_extensions import override

from adapters.http.middleware.request_context import RequestContext
from adapters.http.problem_responses import ProblemError
from adapters.http.problems import RATE_LIMITED

IN_PROCESS = "memory://"
"""The store that each process has for itself."""

STORE_SECONDS = 0.25
"""Longest wait for a shared store."""

DISTRUST = 1.0
"""Seconds for which a store that failed is not asked again."""

SILENCE = 30.0
"""Seconds between two lines of the log about a store that fails."""


class RateLimits(Protocol):
    """Counts requests."""

    async def count(self, context: RequestContext, who: str) -> None:
        """Count a request, and note in its scope where who made it stands. Raises ProblemError when it is too many."""

    async def close(self) -> None:
        """End the connections to a shared store."""


class NoRateLimits(RateLimits):
    """Counts nothing."""

    @override
    async def count(self, context: RequestContext, who: str) -> None:
        pass

    @override
    async def close(self) -> None:
        pass


class CountedRateLimits(RateLimits):
    """So many requests in each window of time, such as 6000/minute, for each who makes them.

    A store that fails lets requests pass: it protects the service, and must not be what brings it down.
    """

    def __init__(self, limit: str, store: str) -> None:
        self._item = parse(limit)
        self._store = _store(store)
        self._limiter = FixedWindowRateLimiter(self._store)
        self._policy = (
            b"ratelimit-policy",
            f'"requests";q={self._item.amount};w={self._item.get_expiry()}'.encode("ascii"),
        )
        self._logger = structlog.get_logger("hexapost.rates")
        self._silent_until = self._trusts_again_at = 0.0

    @override
    async def count(self, context: RequestContext, who: str) -> None:
        if time.monotonic() < self._trusts_again_at:
            return
        try:
            is_allowed = await self._limiter.hit(self._item, who)
            reset_at, left = await self._limiter.get_window_stats(self._item, who)
        except Exception as error:  # noqa: BLE001 - each store has errors of its own
            self._complain(error)
            return
        seconds = max(1, math.ceil(reset_at - time.time()))
        context.rate_limit_headers = (
            self._policy,
            (b"ratelimit", f'"requests";r={left if is_allowed else 0};t={seconds}'.encode("ascii")),
        )
        if not is_allowed:
            raise ProblemError(RATE_LIMITED, headers={"retry-after": str(seconds)})

    @override
    async def close(self) -> None:
        if isinstance(self._store, RedisStorage):
            bridge = cast("Any", self._store.bridge)  # whose types leave out what it has
            await bridge.get_connection().aclose()

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        self._trusts_again_at = now + DISTRUST
        if now >= self._silent_until:
            self._silent_until = now + SILENCE
            self._logger.warning("the store of the rate limits fails: nothing is limited", error=type(error).__name__)


def made_rate_limits(limit: str | None, store: str) -> RateLimits:
    """Return the rate limits that the settings describe; none without a limit."""
    return NoRateLimits() if limit is None else CountedRateLimits(limit, store)


def _store(name: str) -> Storage:
    if name == IN_PROCESS:
        return MemoryStorage()
    patience = {"socket_timeout": STORE_SECONDS, "socket_connect_timeout": STORE_SECONDS}
    store = storage_from_string(f"async+{name}", implementation="redispy", **patience)
    return cast("Storage", store)
