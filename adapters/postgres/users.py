"""The users in PostgreSQL."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from typing_extensions import override

from adapters.postgres.drivers import Row
from adapters.postgres.session import WRITTEN, Session, refuse_stale
from adapters.postgres.tables import OUTCOMES, USERS
from application.ports import UserRepository
from domain.email import email_key
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError

_COLUMNS = (
    USERS.c.id,
    USERS.c.email,
    USERS.c.full_name,
    USERS.c.is_active,
    USERS.c.created_at,
    USERS.c.updated_at,
    USERS.c.version,
)


def _user(row: Row) -> User:
    id_, email, full_name, is_active, created_at, updated_at, version = row
    return User(
        id=id_,
        email=email,
        full_name=full_name,
        is_active=is_active,
        created_at=created_at,
        updated_at=updated_at,
        version=version,
    )


def _values(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "email_key": email_key(user.email),
        "full_name": user.full_name,
        "is_active": user.is_active,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "version": user.version,
    }


_STORED = (USERS.c.id == bindparam("stored_id"), USERS.c.version == bindparam("stored_version"))
_GET = select(*_COLUMNS).where(USERS.c.id == bindparam("id"))
_FIND_BY_EMAIL = select(*_COLUMNS).where(USERS.c.email_key == bindparam("email_key"))
# A conflict of either key: with one key named, an echo that meets its own insert half way violates the other one.
_ADD = insert(USERS).on_conflict_do_nothing().returning(WRITTEN)
_FIXED = {"id", "created_at"}
_CHANGES: dict[str, Any] = {name: bindparam(name) for name in USERS.c.keys() if name not in _FIXED}  # noqa: SIM118 - columns
_UPDATE = update(USERS).where(*_STORED).values(_CHANGES).returning(WRITTEN)
_REMOVE = delete(USERS).where(*_STORED).returning(WRITTEN)
# A statement of its own, after the other one: that waits for those who hold the user and store an answer about them,
# and one statement, whatever it waits for, would see what is stored as it was when it began.
_FORGET = (
    update(OUTCOMES)
    .where(OUTCOMES.c.subject_id == bindparam("stored_id"), text("answer <> ''"))
    .values(answer=text("''"))
    .returning(WRITTEN)
)


@cache
def _list(*, after: bool, is_active: bool) -> Select[Any]:
    statement = select(*_COLUMNS).order_by(USERS.c.id.desc()).limit(bindparam("limit"))
    if after:
        statement = statement.where(USERS.c.id < bindparam("after"))
    if is_active:
        statement = statement.where(USERS.c.is_active == bindparam("is_active"))
    return statement


class SqlAlchemyUserRepository(UserRepository):
    """Stores users in PostgreSQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @override
    async def get(self, user_id: UUID) -> User:
        rows = await self._session.fetch(_GET, {"id": user_id})
        if not rows:
            raise UserNotFoundError
        return _user(rows[0])

    @override
    async def find_by_email(self, email: str) -> User | None:
        rows = await self._session.fetch(_FIND_BY_EMAIL, {"email_key": email_key(email)})
        return _user(rows[0]) if rows else None

    @override
    async def list(self, *, limit: int, after: UUID | None = None, is_active: bool | None = None) -> Sequence[User]:
        statement = _list(after=after is not None, is_active=is_active is not None)
        rows = await self._session.fetch(statement, {"limit": limit, "after": after, "is_active": is_active})
        return [_user(row) for row in rows]

    @override
    async def add(self, user: User) -> None:
        async def accept_an_echo() -> None:
            if not await self._session.fetch(_GET, {"id": user.id}):
                raise EmailAlreadyRegisteredError

        self._session.write(_ADD, _values(user), when_nothing=accept_an_echo)

    @override
    async def update(self, user: User) -> None:
        stored = {"stored_id": user.id, "stored_version": user.version - 1}
        self._session.write(_UPDATE, _values(user) | stored, when_nothing=refuse_stale)

    @override
    async def remove(self, user: User) -> None:
        stored = {"stored_id": user.id, "stored_version": user.version}
        self._session.write(_REMOVE, stored, when_nothing=refuse_stale)
        self._session.write(_FORGET, stored)
