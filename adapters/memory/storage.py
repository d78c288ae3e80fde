"""Units of work over dictionaries."""

from types import TracebackType
from typing import Self

from adapters.memory.posts import InMemoryPostRepository
from adapters.memory.tables import Tables, View
from adapters.memory.users import InMemoryUserRepository
from application.ports import Storage, UnitOfWork


class InMemoryStorage(Storage):
    """Users and posts for as long as the object lives. For one event loop."""

    def __init__(self) -> None:
        self._tables = Tables()

    def transaction(self) -> "InMemoryUnitOfWork":
        """See `Storage.transaction`."""
        return InMemoryUnitOfWork(View(self._tables))

    def readonly(self) -> "InMemoryUnitOfWork":
        """See `Storage.readonly`."""
        return InMemoryUnitOfWork(View(self._tables, readonly=True))


class InMemoryUnitOfWork(UnitOfWork):
    """Writes wait until the block ends, as they do with PostgreSQL, and are then made all or not at all."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.users = InMemoryUserRepository(view)
        self.posts = InMemoryPostRepository(view)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._view.commit()
