"""An authenticator with clocks that tests advance, over a storage that counts."""

from datetime import datetime, timedelta
from uuid import UUID

from application.api_keys import ApiKeyService, CreatedApiKey
from application.authentication import Authenticator
from application.authorization import SYSTEM_PRINCIPAL, UnauthenticatedError
from application.transactions import RetryPolicy
from domain.api_keys import Scope
from tests.support.principals import CountingStorage, Hook, HookedStorage
from tests.support.service_factories import PEPPERS, START, key_service

CACHE_TTL = 5.0
"""Seconds."""


class AuthHarness:
    """An authenticator, its clocks, and the use cases that create and revoke API keys."""

    def __init__(self) -> None:
        self.storage = CountingStorage(clock=lambda: self.time)
        self._lookups = HookedStorage(self.storage, times=0)
        self.time = START
        self.monotonic = 1000.0
        self.authenticator = self.second_process()
        self.keys: ApiKeyService = key_service(
            self.storage, now=lambda: self.time, authenticator=self.authenticator, retry=RetryPolicy(max_elapsed=0)
        )

    def second_process(self, cache_ttl: float = CACHE_TTL) -> Authenticator:
        """Return an authenticator with a separate cache, as a second process has."""
        return Authenticator(
            storage=self._lookups,
            peppers=PEPPERS,
            cache_ttl=cache_ttl,
            retry=RetryPolicy(max_elapsed=0),
            monotonic=lambda: self.monotonic,
        )

    def advance_clock(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.monotonic += seconds

    def in_next_lookup(self, hook: Hook) -> None:
        """Run the hook in the next unit of work of the authenticator, after the key was read."""
        self._lookups.within, self._lookups.times = hook, 1

    async def create_key(self, expires_at: datetime | None = None, user_id: UUID | None = None) -> CreatedApiKey:
        return await self.keys.create(
            SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], expires_at=expires_at, user_id=user_id
        )

    async def last_use(self, issued: CreatedApiKey) -> datetime | None:
        await self.authenticator.close()
        return (await self.keys.get(SYSTEM_PRINCIPAL, issued.key.id)).last_used_at

    async def is_accepted(self, text: str, authenticator: Authenticator | None = None) -> bool:
        try:
            await (authenticator or self.authenticator).authenticate(text)
        except UnauthenticatedError:
            return False
        return True

    async def is_cached(self, text: str) -> bool:
        """Return True if the key is accepted without a lookup."""
        await self.authenticator.close()
        before = self.storage.begun
        return await self.is_accepted(text) and self.storage.begun == before
