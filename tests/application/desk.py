"""An authenticator whose time stands still, over a storage that counts."""

from datetime import datetime, timedelta

from application.access import OPERATOR, UnauthenticatedError
from application.authentication import Authenticator
from application.credentials import Peppers
from application.keys import ApiKeyService, IssuedKey
from application.transactions import Retry
from domain.keys import Scope
from tests.support.callers import CountingStorage
from tests.support.services import PEPPERS, START, key_service

REMEMBERS = 5.0
"""Seconds."""


class Desk:
    """An authenticator, its clocks, and the use cases that make and revoke keys."""

    def __init__(self) -> None:
        self.storage = CountingStorage()
        self.time = START
        self.monotonic = 1000.0
        self.authenticator = self.another()
        self.keys: ApiKeyService = key_service(
            self.storage, now=lambda: self.time, authenticator=self.authenticator, retry=Retry(deadline=0)
        )

    def another(self, peppers: Peppers = PEPPERS) -> Authenticator:
        """Return an authenticator as another process has one."""
        return Authenticator(
            storage=self.storage,
            now=lambda: self.time,
            peppers=peppers,
            remembers=REMEMBERS,
            retry=Retry(deadline=0),
            monotonic=lambda: self.monotonic,
        )

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.monotonic += seconds

    async def issued(self, expires_at: datetime | None = None) -> IssuedKey:
        return await self.keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], expires_at=expires_at)

    async def last_use(self, issued: IssuedKey) -> datetime | None:
        await self.authenticator.close()
        return (await self.keys.get(OPERATOR, issued.key.id)).last_used_at

    async def opens(self, text: str, authenticator: Authenticator | None = None) -> bool:
        try:
            await (authenticator or self.authenticator).authenticate(text)
        except UnauthenticatedError:
            return False
        return True
