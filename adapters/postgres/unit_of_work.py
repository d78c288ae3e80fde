"""Units of work in PostgreSQL."""

from collections.abc import Sequence
from functools import partial
from typing import Self

from typing_extensions import override

from adapters.postgres.coalescing import Coalescer
from adapters.postgres.pool import Backend, Database
from adapters.postgres.repositories import api_keys, idempotency, users
from adapters.postgres.repositories.api_keys import SqlAlchemyApiKeyRepository
from adapters.postgres.repositories.audit import SqlAlchemyAuditRepository
from adapters.postgres.repositories.idempotency import SqlAlchemyIdempotencyRepository
from adapters.postgres.repositories.posts import SqlAlchemyPostRepository
from adapters.postgres.repositories.users import SqlAlchemyUserRepository
from adapters.postgres.session import PgSession, PgSnapshot
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import Storage, UnitOfWork

_CONSTRAINT_ERRORS = {**users.CONSTRAINT_ERRORS, **api_keys.CONSTRAINT_ERRORS, **idempotency.CONSTRAINT_ERRORS}


class SqlAlchemyStorage(Storage):
    """Stores everything in one database."""

    def __init__(self, database: Database) -> None:
        self._open_session = partial(PgSession, database, constraints=_CONSTRAINT_ERRORS)
        self._open_snapshot = partial(PgSnapshot, database)
        # Without prepared statements, each statement needs a transaction.
        self._coalescer = (
            Coalescer(
                partial(self._open_session, readonly=False),
                database.deadlines,
                pool_timeout=database.options.pool_timeout,
            )
            if database.options.prepared_statements
            else None
        )

    @override
    def transaction(self, actor: Principal = SYSTEM_PRINCIPAL) -> "SqlAlchemyUnitOfWork":
        return SqlAlchemyUnitOfWork(self._open_session(readonly=False, coalescer=self._coalescer), actor)

    @override
    def readonly(self) -> "SqlAlchemyUnitOfWork":
        return SqlAlchemyUnitOfWork(self._open_session(readonly=True, coalescer=self._coalescer))

    @override
    def snapshot(self) -> "SqlAlchemyUnitOfWork":
        return SqlAlchemyUnitOfWork(self._open_snapshot())


class SqlAlchemyUnitOfWork(UnitOfWork):
    """A unit of work that commits at the end of its block, or rolls back if the block raises."""

    def __init__(self, session: PgSession, actor: Principal = SYSTEM_PRINCIPAL) -> None:
        super().__init__(
            users=SqlAlchemyUserRepository(session, actor),
            posts=SqlAlchemyPostRepository(session, actor),
            api_keys=SqlAlchemyApiKeyRepository(session, actor),
            idempotency=SqlAlchemyIdempotencyRepository(session),
            audit=SqlAlchemyAuditRepository(session),
        )
        self._session = session

    @override
    async def end_connections(self, lost: Sequence[object]) -> None:
        await self._session.end_backends([backend for backend in lost if isinstance(backend, Backend)])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._session.end(commit=kind is None)
