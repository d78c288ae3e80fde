"""Authentication of API keys, with a cache."""

import asyncio
import hashlib
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from application.api_key_tokens import PepperSet, new_family, parse_api_key_id
from application.authorization import SYSTEM_PRINCIPAL, Principal, UnauthenticatedError
from application.ports import Storage, TransientStorageError, UnitOfWork
from application.transactions import RetryPolicy, readonly, transactional
from domain.api_keys import ApiKey, ApiKeyNotFoundError

MAX_CACHE_ENTRIES = 10_000

STALE_CACHE_TTL_SECONDS = 3600.0
"""How long a cached key stays usable while the storage is unavailable, for callers that allow stale results."""

STALE_LOOKUP_TIMEOUT_SECONDS = 1.0
"""The time limit of a lookup if a stale result is available and allowed."""

LAST_USED_UPDATE_INTERVAL = timedelta(minutes=1)
"""The shortest time between two updates of the last use of a key."""


class _CacheEntry(NamedTuple):
    """A principal, and the times of the monotonic clock until which it is fresh, and stale but usable."""

    principal: Principal
    fresh_until: float
    stale_until: float


def _digest(api_key: str) -> bytes:
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).digest()


class Authenticator:
    """Finds the principal of an API key. For use in one event loop.

    A valid key is cached for `cache_ttl` seconds. A key that a different process revoked can work for this long. The
    clock of the storage decides when a key expires. The cache measures the remaining time with the monotonic clock.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        peppers: PepperSet,
        cache_ttl: float,
        retry: RetryPolicy | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.storage = storage
        self.retry = retry or RetryPolicy()
        self._peppers = peppers
        self._cache_ttl = cache_ttl
        self._monotonic = monotonic
        # Hashed keys, so that memory holds no plain key, and the time of a lookup reveals nothing about one.
        self._cache: dict[bytes, _CacheEntry] = {}
        self._invalidations = 0
        self._use_updates: dict[UUID, asyncio.Task[None]] = {}

    async def authenticate(self, api_key: str, *, allow_stale: bool = False) -> Principal:
        """Return the principal of an API key. Raises the same UnauthenticatedError for every cause.

        With `allow_stale`, a key that was found in the last hour is accepted if the storage fails or needs more than a
        second. A key that expired or was invalidated since is not accepted.
        """
        principal = self.find_cached(api_key)
        if principal is not None:
            return principal
        digest = _digest(api_key)
        if not allow_stale or self._stale_principal(digest) is None:
            return await self._look_up(api_key, digest)
        with suppress(TransientStorageError, TimeoutError):
            async with asyncio.timeout(STALE_LOOKUP_TIMEOUT_SECONDS):
                return await self._look_up(api_key, digest)
        principal = self._stale_principal(digest)
        if principal is None:  # invalidated or expired in the meantime
            raise UnauthenticatedError
        return principal

    def find_cached(self, api_key: str) -> Principal | None:
        """Return the principal of an API key if the cache has a fresh one, without the cost of a coroutine."""
        entry = self._cache.get(_digest(api_key))
        return entry.principal if entry is not None and self._monotonic() < entry.fresh_until else None

    def invalidate(self, key_id: UUID) -> None:
        """Remove a key from the cache."""
        self._invalidate(lambda principal: principal.api_key_id == key_id)

    def invalidate_user(self, user_id: UUID) -> None:
        """Remove the keys that are bound to a user from the cache."""
        self._invalidate(lambda principal: principal.user_id == user_id)

    def _invalidate(self, is_invalid: Callable[[Principal], bool]) -> None:
        self._invalidations += 1
        for digest in [digest for digest, entry in self._cache.items() if is_invalid(entry.principal)]:
            del self._cache[digest]

    async def close(self) -> None:
        """Wait for the pending updates of last uses."""
        while self._use_updates:
            await asyncio.gather(*self._use_updates.values())

    async def _look_up(self, api_key: str, digest: bytes) -> Principal:
        started_at, invalidations = self._monotonic(), self._invalidations
        try:
            key, now = await self._find_active_key(api_key)
        except UnauthenticatedError:
            self._cache.pop(digest, None)
            raise
        principal = Principal(
            api_key_id=key.id,
            scopes=key.scopes,
            user_id=key.user_id,
            expires_at=key.expires_at,
            family=self._peppers.family_of(key) or new_family(key.id, api_key),
        )
        if invalidations == self._invalidations:  # else the result may be older than an invalidation
            lifetime = math.inf if key.expires_at is None else (key.expires_at - now).total_seconds()
            fresh_until = started_at + min(self._cache_ttl, lifetime)
            stale_until = started_at + min(STALE_CACHE_TTL_SECONDS, lifetime)
            self._store(digest, _CacheEntry(principal, fresh_until, stale_until))
        self._schedule_use_update(key, now)
        return principal

    def _stale_principal(self, digest: bytes) -> Principal | None:
        """Return the cached principal, None if it is too old or the key has expired."""
        entry = self._cache.get(digest)
        return entry.principal if entry is not None and self._monotonic() < entry.stale_until else None

    async def _find_active_key(self, api_key: str) -> tuple[ApiKey, datetime]:
        """Return the key, and the time of the storage."""
        key_id = parse_api_key_id(api_key)
        if key_id is None:
            raise UnauthenticatedError
        try:
            key, now = await self._get(key_id)
        except ApiKeyNotFoundError:
            raise UnauthenticatedError from None
        if not self._peppers.verify(api_key, key.secret_hash) or not key.is_active(now):
            raise UnauthenticatedError
        return key, now

    @readonly
    async def _get(self, work: UnitOfWork, key_id: UUID) -> tuple[ApiKey, datetime]:
        return await work.api_keys.get_with_time(key_id)

    def _store(self, digest: bytes, entry: _CacheEntry) -> None:
        self._cache.pop(digest, None)
        if len(self._cache) >= MAX_CACHE_ENTRIES:
            del self._cache[next(iter(self._cache))]
        self._cache[digest] = entry

    def _schedule_use_update(self, key: ApiKey, now: datetime) -> None:
        is_due = key.last_used_at is None or now - key.last_used_at >= LAST_USED_UPDATE_INTERVAL
        if is_due and key.id not in self._use_updates:
            # In the background: the request neither waits for the update nor fails with it.
            task = self._use_updates[key.id] = asyncio.create_task(self._try_to_record_use(key.id, now))
            task.add_done_callback(lambda _: self._use_updates.pop(key.id))

    async def _try_to_record_use(self, key_id: UUID, now: datetime) -> None:
        # The next use is recorded again. The error is not logged, because it may contain database text.
        with suppress(Exception):
            await self._record_use(SYSTEM_PRINCIPAL, key_id, now)

    @transactional
    async def _record_use(self, work: UnitOfWork, _principal: Principal, key_id: UUID, now: datetime) -> None:
        await work.api_keys.record_use(key_id, now=now)
