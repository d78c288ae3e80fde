"""Users in memory."""

from collections.abc import Sequence
from heapq import nlargest
from uuid import UUID

from typing_extensions import override

from adapters.memory.tables import TransactionView
from application.ports import UserRepository
from domain.email import normalize_email
from domain.users import User, UserNotFoundError


class InMemoryUserRepository(UserRepository):
    """Stores users in memory."""

    def __init__(self, view: TransactionView) -> None:
        self._view = view

    @override
    async def get(self, user_id: UUID) -> User:
        user = self._view.tables().users.get(user_id)
        if user is None:
            raise UserNotFoundError
        return user

    @override
    async def find_by_email(self, email: str) -> User | None:
        tables = self._view.tables()
        user_id = tables.user_ids.get(normalize_email(email))
        return None if user_id is None else tables.users[user_id]

    @override
    async def list(self, *, limit: int, after: UUID | None = None, is_active: bool | None = None) -> Sequence[User]:
        found = (
            user
            for user in self._view.tables().users.values()
            if (after is None or user.id < after) and is_active in {None, user.is_active}
        )
        return nlargest(limit, found, key=lambda user: user.id)

    @override
    async def add(self, user: User) -> None:
        self._view.write(lambda tables: tables.add_user(user))

    @override
    async def update(self, user: User) -> None:
        self._view.write(lambda tables: tables.update_user(user))

    @override
    async def delete(self, user: User) -> None:
        self._view.write(lambda tables: tables.delete_user(user))
