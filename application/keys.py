"""Use cases of API keys."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Unpack
from uuid import UUID

from application.access import Caller
from application.authentication import Authenticator
from application.credentials import NewSecret, Peppers, key_text
from application.idempotency import Created, Once, Outcome, created, outcome_of
from application.pages import Page
from application.ports import Clock, NewId, Storage, UnitOfWork
from application.transactions import Retry, readonly, transactional
from domain.api_keys import ApiKey, ApiKeyNotFoundError, NewApiKey, Scope


class IssuedKey(NamedTuple):
    """A new API key and its text, which is not stored."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyService:
    """Use cases of API keys. Every use case raises ForbiddenError if the principal lacks the required scope."""

    storage: Storage
    now: Clock
    new_id: NewId
    new_secret: NewSecret
    peppers: Peppers
    authenticator: Authenticator
    retry: Retry = field(default_factory=Retry)

    async def create(self, caller: Caller, **fields: Unpack[NewApiKey]) -> IssuedKey:
        """Create an API key, which is bound to a user if `user_id` is given.

        Raises ForbiddenError also for a scope that the caller lacks and for an expiry later than that of the caller's
        own key, FieldValidationError, and ApiKeyUserNotFoundError.
        """
        return (await self.create_once(caller, None, **fields)).value

    async def create_once(
        self, caller: Caller, once: Once[IssuedKey] | None, **fields: Unpack[NewApiKey]
    ) -> Created[IssuedKey]:
        """Create an API key, or return the key that an earlier execution of the same request created.

        Raises the errors of `create` and of `OutcomeRepository.add`.
        """
        caller.require(Scope.KEYS_ADMIN, *sorted(frozenset(fields["scopes"])))
        caller.require_unbound()
        caller.require_end(fields.get("expires_at"))
        issued = self._issued(**fields)
        key = issued.key
        outcome = outcome_of(once, issued, subject_id=key.user_id, now=key.created_at)
        return created(issued, once, await self._add(key, outcome))

    @transactional
    async def _add(self, work: UnitOfWork, key: ApiKey, outcome: Outcome | None) -> Outcome | None:
        earlier = None if outcome is None else await work.outcomes.add(outcome)
        if earlier is None:
            await work.keys.add(key)
        return earlier

    @readonly
    async def get(self, work: UnitOfWork, caller: Caller, key_id: UUID) -> ApiKey:
        """Return a key. Raises ApiKeyNotFoundError."""
        caller.require(Scope.KEYS_ADMIN)
        return await work.keys.get(key_id)

    @readonly
    async def list(self, work: UnitOfWork, caller: Caller, *, limit: int, after: UUID | None = None) -> Page[ApiKey]:
        """Return a page of at most `limit` keys, newest first, below the ID `after`."""
        caller.require(Scope.KEYS_ADMIN)
        return Page.cut(await work.keys.list(limit=limit + 1, after=after), limit)

    async def revoke(self, caller: Caller, key_id: UUID) -> None:
        """Revoke a key: in this process at once, in other processes when their cache entry expires.

        A revoked key can be revoked again. Raises ApiKeyNotFoundError.
        """
        caller.require(Scope.KEYS_ADMIN)
        try:
            await self._revoke(key_id, self.now())
        finally:  # the revocation may be stored although its result is unknown
            self.authenticator.forget(key_id)

    @transactional
    async def _revoke(self, work: UnitOfWork, key_id: UUID, now: datetime) -> None:
        await work.keys.revoke(key_id, now=now)

    async def rotate(self, caller: Caller, key_id: UUID, *, until: datetime) -> IssuedKey:
        """Create a key with the same permissions, and let this one expire at `until`. Until then both are valid.

        Raises ApiKeyNotFoundError also for a revoked or expired key, ForbiddenError also for a scope that the principal
        lacks and for a key that expires later than the principal's own, and FieldValidationError.
        """
        caller.require(Scope.KEYS_ADMIN)
        before = await self.get(caller, key_id)
        if not before.is_active(self.now()):
            raise ApiKeyNotFoundError
        caller.require(*sorted(before.scopes))
        caller.require_end(before.expires_at)
        issued = self._issued(
            name=before.name, scopes=before.scopes, user_id=before.user_id, expires_at=before.expires_at
        )
        try:
            await self._replace(key_id, until, issued.key)
        finally:
            self.authenticator.forget(key_id)
        return issued

    @transactional
    async def _replace(self, work: UnitOfWork, key_id: UUID, until: datetime, key: ApiKey) -> None:
        await work.keys.end(key_id, at=until)
        await work.keys.add(key)

    def _issued(self, **fields: Unpack[NewApiKey]) -> IssuedKey:
        key_id = self.new_id()
        text = key_text(key_id, self.new_secret())
        key = ApiKey.create(id=key_id, secret_hash=self.peppers.hashed(text), now=self.now(), **fields)
        return IssuedKey(key, text)
