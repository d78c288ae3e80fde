"""Principals for tests, and storages that count or that run hooks."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

from adapters.clock import new_id, utc_now
from adapters.memory.unit_of_work import InMemoryStorage, InMemoryUnitOfWork
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import Clock, Storage, UnitOfWork
from domain.api_keys import USER_SCOPES, Scope

Hook = Callable[[], Awaitable[object]]


def unbound_principal(*scopes: Scope) -> Principal:
    """Return a principal with these scopes that is not bound to a user."""
    return Principal(api_key_id=new_id(), scopes=frozenset(scopes), user_id=None)


def bound_principal(user_id: UUID, scopes: Iterable[Scope] = USER_SCOPES) -> Principal:
    """Return a principal that is bound to this user."""
    return Principal(api_key_id=new_id(), scopes=frozenset(scopes), user_id=user_id)


def principal_without(*scopes: Scope) -> Principal:
    """Return a principal with every scope except these."""
    return unbound_principal(*set(Scope) - set(scopes))


class CountingStorage(InMemoryStorage):
    """Counts the units of work that begin. Raises `away` at their begin if it is set."""

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__(clock)
        self.begun = 0
        self.away: Exception | None = None

    def transaction(self, actor: Principal = SYSTEM_PRINCIPAL) -> InMemoryUnitOfWork:
        self._begin()
        return super().transaction(actor)

    def readonly(self) -> InMemoryUnitOfWork:
        self._begin()
        return super().readonly()

    def snapshot(self) -> InMemoryUnitOfWork:
        self._begin()
        return super().snapshot()

    def _begin(self) -> None:
        self.begun += 1
        if self.away is not None:
            raise self.away


async def do_nothing() -> None:
    """Run no hook."""


def raising(error: type[Exception]) -> Hook:
    """Return a hook that raises this error."""

    async def hook() -> None:
        raise error

    return hook


class HookedStorage(Storage):
    """Runs hooks in the first `times` units of work of another storage.

    `before` runs before the unit of work begins, `within` at the end of its block, `after` when it is committed.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        before: Hook = do_nothing,
        within: Hook = do_nothing,
        after: Hook = do_nothing,
        times: int = 1,
    ) -> None:
        self._storage = storage
        self.before, self.within, self.after = before, within, after
        self.times = times

    def transaction(self, actor: Principal = SYSTEM_PRINCIPAL) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._hooked(lambda: self._storage.transaction(actor))

    def readonly(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._hooked(self._storage.readonly)

    def snapshot(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._hooked(self._storage.snapshot)

    @asynccontextmanager
    async def _hooked(self, begin: Callable[[], AbstractAsyncContextManager[UnitOfWork]]) -> AsyncIterator[UnitOfWork]:
        self.times -= 1
        if self.times < 0:
            async with begin() as work:
                yield work
            return
        await self.before()
        async with begin() as work:
            yield work
            await self.within()
        await self.after()
