"""The use cases about users."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Unpack
from uuid import UUID

from application.pages import Page
from application.ports import Clock, NewId, Storage, UnitOfWork
from application.transactions import Retry, readonly, transactional
from application.versions import require_version
from domain.users import User, UserChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class UserService:
    """Registers, shows, changes and erases users. Holds no state of its own."""

    storage: Storage
    now: Clock
    new_id: NewId
    retry: Retry = field(default_factory=Retry)

    async def register(self, *, email: str, full_name: str | None = None, is_active: bool = True) -> User:
        """Return the new user.

        Raises InvalidValueError, and EmailAlreadyRegisteredError when another user has this address.
        """
        user = User.registered(id=self.new_id(), email=email, full_name=full_name, is_active=is_active, now=self.now())
        await self._add(user)
        return user

    @transactional
    async def _add(self, work: UnitOfWork, user: User) -> None:
        await work.users.add(user)

    @readonly
    async def get(self, work: UnitOfWork, user_id: UUID) -> User:
        """Return the user. Raises UserNotFoundError."""
        return await work.users.get(user_id)

    @readonly
    async def list(
        self,
        work: UnitOfWork,
        *,
        limit: int,
        after: UUID | None = None,
        email: str | None = None,
        is_active: bool | None = None,
    ) -> Page[User]:
        """Return a page of at most `limit` users, newest first, that starts below the id `after`.

        With `email` only the user of that address in any spelling, with `is_active` only those that are, or are not,
        active. Raises InvalidValueError for an address that is none.
        """
        if email is None:
            users = await work.users.list(limit=limit + 1, after=after, is_active=is_active)
        else:
            users = _matching(await work.users.find_by_email(email), after=after, is_active=is_active)
        return Page.cut(users, limit)

    async def change(self, user_id: UUID, *, expected: int | None = None, **changes: Unpack[UserChanges]) -> User:
        """Return the user after the changes; what is not named stays, and a change that changes nothing is none.

        Raises UserNotFoundError, VersionMismatchError when the version is not the `expected` one, InvalidValueError,
        and EmailAlreadyRegisteredError when another user has the new address.
        """
        return await self._change(user_id, expected, self.now(), changes)

    @transactional
    async def _change(
        self,
        work: UnitOfWork,
        user_id: UUID,
        expected: int | None,
        now: datetime,
        changes: UserChanges,
    ) -> User:
        user = await work.users.get(user_id)
        require_version(user, expected, now=now)
        changed = user.changed(now=now, **changes)
        if changed is not user:
            require_version(user, expected)
            await work.users.update(changed)
        return changed

    @transactional
    async def erase(self, work: UnitOfWork, user_id: UUID, *, expected: int | None = None) -> None:
        """Erase the user and all posts by that user.

        Raises UserNotFoundError, and VersionMismatchError when the version is not the `expected` one.
        """
        user = await work.users.get(user_id)
        require_version(user, expected)
        await work.users.remove(user)


def _matching(user: User | None, *, after: UUID | None, is_active: bool | None) -> Sequence[User]:
    if user is None or (after is not None and user.id >= after):
        return []
    return [user] if is_active in {None, user.is_active} else []
