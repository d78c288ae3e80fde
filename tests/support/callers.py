"""Callers of use cases, and a storage that tells what was asked of it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

from adapters.memory.storage import InMemoryStorage, InMemoryUnitOfWork
from adapters.system import new_id
from application.access import Caller
from application.ports import Storage, StorageUnavailableError, UnitOfWork
from domain.keys import USER_SCOPES, Scope


def unbound(*scopes: Scope) -> Caller:
    """Return a caller with these scopes who acts for nobody in particular."""
    return Caller(key_id=new_id(), scopes=frozenset(scopes), user_id=None)


def bound(user_id: UUID, scopes: Iterable[Scope] = USER_SCOPES) -> Caller:
    """Return a caller who acts for one user."""
    return Caller(key_id=new_id(), scopes=frozenset(scopes), user_id=user_id)


def lacking(*scopes: Scope) -> Caller:
    """Return a caller with every scope but these."""
    return unbound(*set(Scope) - set(scopes))


class CountingStorage(InMemoryStorage):
    """Counts the units of work that begin; none does while it is `away`."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.away: Exception | None = None

    def transaction(self) -> InMemoryUnitOfWork:
        self._begin()
        return super().transaction()

    def readonly(self) -> InMemoryUnitOfWork:
        self._begin()
        return super().readonly()

    def _begin(self) -> None:
        self.begun += 1
        if self.away is not None:
            raise self.away


class DeafStorage(Storage):
    """Carries transactions out and loses their acknowledgements."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        async with self._storage.transaction() as work:
            yield work
        raise StorageUnavailableError

    def readonly(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._storage.readonly()
