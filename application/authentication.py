"""Who comes with which key. What was found out is remembered for a short while, the revocation delay.

For what is needed most while the storage is away, it is remembered for longer: see `Authenticator.authenticate`.
"""

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
from domain.keys import ApiKey, ApiKeyNotFoundError

MOST_REMEMBERED = 10_000
"""Keys."""

OUTAGE_SECONDS = 3600.0
"""For how long a key may be taken for what it was while the storage cannot be asked."""

OUTAGE_PATIENCE = 1.0
"""How long is waited for a storage that may be away, in seconds."""

NOTED_EVERY = timedelta(minutes=1)
"""How far the last use of a key that is stored may lag behind."""


class _Known(NamedTuple):
    caller: Caller
    since: float
    until: float


class Authenticator:
    """Tells who comes with which key. For one event loop.

    A key that was found is taken for what it was for `remembers` seconds, so that not every request asks the storage.
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
        # By a hash of the text, so that no key lies about in memory, and how long a look-up takes tells nothing of one.
        self._known: dict[bytes, _Known] = {}
        self._forgotten = 0
        self._notes: dict[UUID, asyncio.Task[None]] = {}

    async def authenticate(self, text: str, *, in_outage: bool = False) -> Caller:
        """Return who has this key. Raises UnauthenticatedError, for every cause the same.

        With `in_outage` a key that was found here before is taken for what it was then, for an hour at most, when the
        storage cannot be asked, or takes more than a second; but not after its own end, nor once it was forgotten.
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
        if caller is None:  # it was forgotten meanwhile, or has come to its end
            raise UnauthenticatedError
        return caller

    def forget(self, key_id: UUID) -> None:
        """Look at this key anew when it comes next."""
        self._forgotten += 1
        for digest in [digest for digest, known in self._known.items() if known.caller.key_id == key_id]:
            del self._known[digest]

    async def close(self) -> None:
        """Wait until all that was to be noted is."""
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
        if forgotten == self._forgotten:  # else what was read may be what was to be forgotten meanwhile
            self._remember(digest, _Known(caller, asked_at, asked_at + self._lasting(key)))
        self._note_use_of(key)
        return caller

    def _last_known(self, digest: bytes) -> Caller | None:
        """Return who had the key when it was last found, None when that is too long ago or the key has ended."""
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
        if not self._peppers.matches(text, key.secret) or not key.is_live(self._now()):
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
            # Beside the request, which neither waits for it nor fails with it.
            task = self._notes[key.id] = asyncio.create_task(self._try_to_note(key.id, now))
            task.add_done_callback(lambda _: self._notes.pop(key.id))

    async def _try_to_note(self, key_id: UUID, now: datetime) -> None:
        # Nobody waits for it, the next use will be noted, and the error may hold text of the storage's.
        with suppress(Exception):
            await self._note(key_id, now)

    @transactional
    async def _note(self, work: UnitOfWork, key_id: UUID, now: datetime) -> None:
        await work.keys.note_use(key_id, now=now)
