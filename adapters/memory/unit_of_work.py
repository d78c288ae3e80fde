"""Units of work in memory."""

from typing import Self

from typing_extensions import override

from adapters.clock import utc_now
from adapters.memory.api_keys import InMemoryApiKeyRepository
from adapters.memory.audit import InMemoryAuditRepository
from adapters.memory.idempotency import InMemoryIdempotencyRepository
from adapters.memory.posts import InMemoryPostRepository
from adapters.memory.tables import Locks, Tables, TransactionView
from adapters.memory.users import InMemoryUserRepository
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import Clock, Storage, UnitOfWork


class InMemoryStorage(Storage):
    """Stores everything in this object. For use in one event loop. `clock` decides about expiry."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._tables = Tables()
        self._locks: Locks = {}

    @override
    def transaction(self, actor: Principal = SYSTEM_PRINCIPAL) -> "InMemoryUnitOfWork":
        return InMemoryUnitOfWork(TransactionView(self._tables, self._locks, self._clock, actor=actor))

    @override
    def readonly(self) -> "InMemoryUnitOfWork":
        return InMemoryUnitOfWork(TransactionView(self._tables, self._locks, self._clock, readonly=True))

    @override
    def snapshot(self) -> "InMemoryUnitOfWork":
        return InMemoryUnitOfWork(TransactionView(self._tables.copy(), self._locks, self._clock, readonly=True))


class InMemoryUnitOfWork(UnitOfWork):
    """A unit of work whose writes are applied together at the end of the block, as in PostgreSQL."""

    def __init__(self, view: TransactionView) -> None:
        super().__init__(
            users=InMemoryUserRepository(view),
            posts=InMemoryPostRepository(view),
            api_keys=InMemoryApiKeyRepository(view),
            idempotency=InMemoryIdempotencyRepository(view),
            audit=InMemoryAuditRepository(view),
        )
        self._view = view

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._view.end(commit=kind is None)
