"""Authentication of API keys, with a cache."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from application.access import Caller, UnauthenticatedError
from application.credentials import Peppers, key_id_of
from application.ports import Clock, Storage, TransientError, UnitOfWork
from application.transactions import Retry, readonly, transactional
from domain.api_keys import ApiKey, ApiKeyNotFoundError

MOST_REMEMBERED = 10_000

OUTAGE_SECONDS = 3600.0
"""How long a cached key stays usable while the storage is unavailable, for callers that allow stale results."""

OUTAGE_PATIENCE = 1.0
"""The time limit of a lookup if a stale result is available and allowed."""

NOTED_EVERY = timedelta(minutes=1)
"""The shortest time between two updates of the last use of a key."""


class _Known(NamedTuple):
    caller: Caller
    since: float
    until: float


class Authenticator:
    """Finds the principal of an API key. For use in one event loop.

    A valid key is cached for `remembers` seconds. A key that a different process revoked can work for this long.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        now: Clock,
        peppers: Peppers,
        remembers: float,
        retry: Retry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.storage = storage
        self.retry = retry or Retry()
        self._now = now
        self._peppers = peppers
        self._remembers = remembers
        self._monotonic = monotonic
        # Hashed keys, so that memory holds no plain key, and the time of a lookup reveals nothing about one.
        self._known: dict[bytes, _Known] = {}
        self._forgotten = 0
        self._notes: dict[UUID, asyncio.Task[None]] = {}

    async def authenticate(self, text: str, *, in_outage: bool = False) -> Caller:
        """Return the principal of an API key. Raises the same UnauthenticatedError for every cause.

        With `in_outage`, a key that was found in the last hour is accepted if the storage fails or needs more than a
        second. A key that expired or was invalidated since is not accepted.
        """
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and self._monotonic() < known.until:
            return known.caller
        if not in_outage or self._last_known(digest) is None:
            return await self._look_up(text, digest)
        with suppress(TransientError, TimeoutError):
            async with asyncio.timeout(OUTAGE_PATIENCE):
                return await self._look_up(text, digest)
        caller = self._last_known(digest)
        if caller is None:  # invalidated or expired in the meantime
            raise UnauthenticatedError
        return caller

    def forget(self, key_id: UUID) -> None:
        """Remove a key from the cache."""
        self._forgotten += 1
        for digest in [digest for digest, known in self._known.items() if known.caller.key_id == key_id]:
            del self._known[digest]

    async def close(self) -> None:
        """Wait for the pending updates of last uses."""
        while self._notes:
            await asyncio.gather(*self._notes.values())

    async def _look_up(self, text: str, digest: bytes) -> Caller:
        asked_at, forgotten = self._monotonic(), self._forgotten
        try:
            key = await self._live(text)
        except UnauthenticatedError:
            self._known.pop(digest, None)
            raise
        caller = Caller(key_id=key.id, scopes=key.scopes, user_id=key.user_id, expires_at=key.expires_at)
        if forgotten == self._forgotten:  # else the result may be older than an invalidation
            self._remember(digest, _Known(caller, asked_at, asked_at + self._lasting(key)))
        self._note_use_of(key)
        return caller

    def _last_known(self, digest: bytes) -> Caller | None:
        """Return the cached principal, None if it is too old or the key has expired."""
        known = self._known.get(digest)
        if known is None or self._monotonic() - known.since >= OUTAGE_SECONDS:
            return None
        end = known.caller.expires_at
        return known.caller if end is None or self._now() < end else None

    async def _live(self, text: str) -> ApiKey:
        key_id = key_id_of(text)
        if key_id is None:
            raise UnauthenticatedError
        try:
            key = await self._get(key_id)
        except ApiKeyNotFoundError:
            raise UnauthenticatedError from None
        if not self._peppers.matches(text, key.secret_hash) or not key.is_active(self._now()):
            raise UnauthenticatedError
        return key

    @readonly
    async def _get(self, work: UnitOfWork, key_id: UUID) -> ApiKey:
        return await work.keys.get(key_id)

    def _lasting(self, key: ApiKey) -> float:
        if key.expires_at is None:
            return self._remembers
        return min(self._remembers, (key.expires_at - self._now()).total_seconds())

    def _remember(self, digest: bytes, known: _Known) -> None:
        self._known.pop(digest, None)
        if len(self._known) >= MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[digest] = known

    def _note_use_of(self, key: ApiKey) -> None:
        now = self._now()
        is_due = key.last_used_at is None or now - key.last_used_at >= NOTED_EVERY
        if is_due and key.id not in self._notes:
            # In the background: the request neither waits for the update nor fails with it.
            task = self._notes[key.id] = asyncio.create_task(self._try_to_note(key.id, now))
            task.add_done_callback(lambda _: self._notes.pop(key.id))

    async def _try_to_note(self, key_id: UUID, now: datetime) -> None:
        # The next use is recorded again. The error is not logged, because it may contain database text.
        with suppress(Exception):
            await self._note(key_id, now)

    @transactional
    async def _note(self, work: UnitOfWork, key_id: UUID, now: datetime) -> None:
        await work.keys.note_use(key_id, now=now)
