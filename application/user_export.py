"""Export of all data about a user, for data portability."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from application.authorization import Principal
from application.ports import Storage, StorageBusyError, UnitOfWork
from application.transactions import RetryPolicy, readonly
from domain.api_keys import Scope
from domain.users import UserNotFoundError

MAX_CONCURRENT_EXPORTS = 2
"""Per service. Each export occupies a connection of the storage."""
PAGE_SIZE = 100


async def _posts(work: UnitOfWork, user_id: UUID, after: UUID | None) -> Sequence[Any]:
    return await work.posts.list(limit=PAGE_SIZE, after=after, author_id=user_id)


async def _api_keys(work: UnitOfWork, user_id: UUID, after: UUID | None) -> Sequence[Any]:
    return await work.api_keys.list(limit=PAGE_SIZE, after=after, user_id=user_id)


async def _audit_entries(work: UnitOfWork, user_id: UUID, after: UUID | None) -> Sequence[Any]:
    return await work.audit.list(limit=PAGE_SIZE, after=after, user_id=user_id)


USER_DATA: dict[str, Callable[[UnitOfWork, UUID, UUID | None], Awaitable[Sequence[Any]]]] = {
    "posts": _posts,
    "api_keys": _api_keys,
    "audit_entries": _audit_entries,
}
"""What belongs to a user: for each table, the function that returns a page of entities below an ID.

An export contains these entities. `UserRepository.delete` deletes them, except for audit entries.
"""


class ExportPage(NamedTuple):
    """Entities of one table. The first page has the user."""

    table: str
    entities: Sequence[Any]


class UserExportService:
    """The export of users. For use in one event loop."""

    def __init__(self, storage: Storage, retry: RetryPolicy | None = None) -> None:
        self.storage = storage
        self.retry = retry or RetryPolicy()
        self._active = 0

    async def export(self, principal: Principal, user_id: UUID) -> AsyncGenerator[ExportPage]:
        """Yield everything that is stored about a user, in pages of one snapshot. Each table has at least one page.

        The first page raises ForbiddenError without the scope, UserNotFoundError, and StorageBusyError if too many
        exports are in progress.
        """
        principal.require_scopes(Scope.USERS_EXPORT)
        if principal.cannot_see(user_id):
            raise UserNotFoundError
        if self._active >= MAX_CONCURRENT_EXPORTS:
            raise StorageBusyError
        self._active += 1
        try:
            await self._require_user(user_id)  # with retries, which a snapshot does not have
            async with self.storage.snapshot() as work:
                yield ExportPage("users", [await work.users.get(user_id)])
                for table, list_page in USER_DATA.items():
                    page = await list_page(work, user_id, None)
                    yield ExportPage(table, page)
                    while len(page) == PAGE_SIZE:
                        page = await list_page(work, user_id, page[-1].id)
                        yield ExportPage(table, page)
        finally:
            self._active -= 1

    @readonly
    async def _require_user(self, work: UnitOfWork, user_id: UUID) -> None:
        await work.users.get(user_id)
