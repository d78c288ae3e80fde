"""Who comes with which key. What was found out is remembered for a short while, the revocation delay."""

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
from application.ports import Clock, Storage, UnitOfWork
from application.transactions import Retry, readonly, transactional
from domain.keys import ApiKey, ApiKeyNotFoundError

MOST_REMEMBERED = 10_000
"""Keys."""

NOTED_EVERY = timedelta(minutes=1)
"""How far the last use of a key that is stored may lag behind."""


class _Known(NamedTuple):
    caller: Caller
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

    async def authenticate(self, text: str) -> Caller:
        """Return who has this key. Raises UnauthenticatedError, for every cause the same."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and self._monotonic() < known.until:
            return known.caller
        self._known.pop(digest, None)
        asked_at, forgotten = self._monotonic(), self._forgotten
        key = await self._live(text)
        caller = Caller(key_id=key.id, scopes=key.scopes, user_id=key.user_id, expires_at=key.expires_at)
        if forgotten == self._forgotten:  # else what was read may be what was to be forgotten meanwhile
            self._remember(digest, caller, until=asked_at + self._lasting(key))
        self._note_use_of(key)
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

    def _remember(self, digest: bytes, caller: Caller, *, until: float) -> None:
        if len(self._known) >= MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[digest] = _Known(caller, until)

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
