"""Use cases of API keys."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Unpack
from uuid import UUID

from application.api_key_tokens import GenerateSecret, PepperSet, format_api_key, new_family
from application.authentication import Authenticator
from application.authorization import Principal
from application.idempotency import Created, IdempotentRequest, create_once
from application.pagination import Page
from application.ports import Clock, NewId, Storage, UnitOfWork
from application.transactions import RetryPolicy, readonly, transactional
from domain.api_keys import ApiKey, ApiKeyFamily, ApiKeyNotFoundError, NewApiKey, Scope


class CreatedApiKey(NamedTuple):
    """A new API key and its text, which is not stored."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyService:
    """Use cases of API keys. Every use case raises ForbiddenError if the principal lacks the required scope."""

    storage: Storage
    clock: Clock
    new_id: NewId
    generate_secret: GenerateSecret
    peppers: PepperSet
    authenticator: Authenticator
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    async def create(self, principal: Principal, **fields: Unpack[NewApiKey]) -> CreatedApiKey:
        """Create an API key, which is bound to a user if `user_id` is given.

        Raises ForbiddenError also for a scope that the caller lacks and for an expiry later than that of the caller's
        own key, FieldValidationError, and ApiKeyUserNotFoundError.
        """
        return (await self.create_once(principal, None, **fields)).value

    async def create_once(
        self, principal: Principal, once: IdempotentRequest[CreatedApiKey] | None, **fields: Unpack[NewApiKey]
    ) -> Created[CreatedApiKey]:
        """Create an API key, or return the key that an earlier execution of the same request created.

        Raises the errors of `create` and of `IdempotencyRepository.add`.
        """
        principal.require_scopes(Scope.KEYS_ADMIN, *sorted(frozenset(fields["scopes"])))
        principal.require_not_user_bound()
        principal.require_expiry_within_own(fields.get("expires_at"))
        now = None if fields.get("expires_at") is None else await self.now(principal)
        created = self._new_api_key(now, **fields)
        key = created.key
        return await create_once(
            self, principal, once, created, lambda work: work.api_keys.add(key), subject_id=key.user_id
        )

    @readonly
    async def now(self, work: UnitOfWork, principal: Principal) -> datetime:
        """Return the time of the storage, which decides when keys expire."""
        principal.require_scopes(Scope.KEYS_ADMIN)
        return await work.api_keys.now()

    @readonly
    async def get(self, work: UnitOfWork, principal: Principal, key_id: UUID) -> ApiKey:
        """Return a key. Raises ApiKeyNotFoundError."""
        principal.require_scopes(Scope.KEYS_ADMIN)
        return await work.api_keys.get(key_id)

    @readonly
    async def list(
        self, work: UnitOfWork, principal: Principal, *, limit: int, after: UUID | None = None
    ) -> Page[ApiKey]:
        """Return a page of at most `limit` keys, newest first, below the ID `after`."""
        principal.require_scopes(Scope.KEYS_ADMIN)
        return Page.from_rows(await work.api_keys.list(limit=limit + 1, after=after), limit)

    async def revoke(self, principal: Principal, key_id: UUID) -> None:
        """Revoke a key: in this process at once, in other processes when their cache entry expires.

        A revoked key can be revoked again. Raises ApiKeyNotFoundError.
        """
        principal.require_scopes(Scope.KEYS_ADMIN)
        try:
            await self._revoke(principal, key_id, self.clock())
        finally:  # the revocation may be stored although its result is unknown
            self.authenticator.invalidate(key_id)

    @transactional
    async def _revoke(self, work: UnitOfWork, _principal: Principal, key_id: UUID, now: datetime) -> None:
        await work.api_keys.revoke(key_id, now=now)

    async def rotate(self, principal: Principal, key_id: UUID, *, until: datetime) -> CreatedApiKey:
        """Create a key with the same permissions, and let this one expire at `until`. Until then both are valid.

        Both belong to one family: a request with an idempotency key is executed once, with any of its keys.

        Raises ApiKeyNotFoundError also for a revoked or expired key, ForbiddenError also for a scope that the principal
        lacks and for a key that expires later than the principal's own, and FieldValidationError.
        """
        principal.require_scopes(Scope.KEYS_ADMIN)
        before, now = await self._get_with_time(key_id)
        if not before.is_active(now):
            raise ApiKeyNotFoundError
        principal.require_scopes(*sorted(before.scopes))
        principal.require_expiry_within_own(before.expires_at)
        created = self._new_api_key(
            now,
            self.peppers.family_of(before),
            name=before.name,
            scopes=before.scopes,
            user_id=before.user_id,
            expires_at=before.expires_at,
        )
        try:
            await self._rotate(principal, key_id, until, created.key)
        finally:
            self.authenticator.invalidate(key_id)
        return created

    @readonly
    async def _get_with_time(self, work: UnitOfWork, key_id: UUID) -> tuple[ApiKey, datetime]:
        return await work.api_keys.get_with_time(key_id)

    @transactional
    async def _rotate(
        self, work: UnitOfWork, _principal: Principal, key_id: UUID, until: datetime, key: ApiKey
    ) -> None:
        await work.api_keys.set_expiry(key_id, at=until)
        await work.api_keys.add(key)

    def _new_api_key(
        self, now: datetime | None, family: ApiKeyFamily | None = None, **fields: Unpack[NewApiKey]
    ) -> CreatedApiKey:
        """Return a new key. `now` is the time of the storage, None if the key does not expire."""
        key_id, created_at = self.new_id(), self.clock()
        text = format_api_key(key_id, self.generate_secret())
        secret_hash = self.peppers.hash(text)
        family = family or new_family(key_id, text)
        key = ApiKey.create(
            id=key_id,
            secret_hash=secret_hash,
            family_id=family.id,
            family_secret=self.peppers.encrypt_family_secret(family.secret, key_id, secret_hash.pepper),
            created_at=created_at,
            now=now or created_at,
            **fields,
        )
        return CreatedApiKey(key, text)
