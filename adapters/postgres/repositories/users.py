"""Users in PostgreSQL."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, bindparam, text, update
from sqlalchemy.dialects.postgresql import insert
from typing_extensions import override

from adapters.postgres.models import IDEMPOTENCY_RECORDS, USERS
from adapters.postgres.repositories.audit import ERASE_REQUEST_IDS, erasure, with_entry
from adapters.postgres.row_mapper import WRITTEN, RowMapper
from adapters.postgres.session import PgRepository, raise_concurrent_update
from adapters.postgres.sqlstate import ConstraintErrors
from application.ports import UserRepository
from domain.audit import AuditOperation
from domain.email import normalize_email
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError

_MAPPER: RowMapper[User] = RowMapper(
    USERS,
    User,
    write={"email_normalized": lambda user: normalize_email(user.email)},
    write_only=frozenset({"email_normalized"}),
)
_GET = _MAPPER.select_by_id()
_FIND_BY_EMAIL = _MAPPER.select().where(USERS.c.email_normalized == bindparam("email_normalized"))
# A conflict of either unique index: a retry can meet its own uncommitted insert in both.
_ADD = with_entry(insert(USERS).values(_MAPPER.bindparams()).on_conflict_do_nothing(), AuditOperation.CREATED)
_UPDATE = with_entry(_MAPPER.update_version(), AuditOperation.UPDATED, changed_fields=_MAPPER.changed_fields())
_LOCK = _MAPPER.select_version().with_for_update()
_ERASE_RESPONSES = (
    update(IDEMPOTENCY_RECORDS)
    .where(IDEMPOTENCY_RECORDS.c.subject_id == bindparam("stored_id"), text("response <> ''"))
    .values(response=text("''"))
    .returning(WRITTEN)
)
# After `_LOCK`, the snapshot of this statement has all posts, keys and stored results of the user: a transaction that
# adds one of them locks the user until its end.
_DELETE = erasure(_ERASE_RESPONSES.cte("erased_responses"))
_IS_EXPIRED = and_(~USERS.c.is_active, _MAPPER.unchanged())
_FIND_EXPIRED = (
    _MAPPER.select()
    .where(_IS_EXPIRED)
    .order_by(USERS.c.created_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_COUNT_EXPIRED = _MAPPER.count(_IS_EXPIRED)


@cache
def _list(*, after: bool, is_active: bool) -> Select[Any]:
    statement = _MAPPER.select_page(after=after)
    return statement.where(USERS.c.is_active == bindparam("is_active")) if is_active else statement


CONSTRAINT_ERRORS: ConstraintErrors = {"uq_users_email_normalized": EmailAlreadyRegisteredError}


class SqlAlchemyUserRepository(PgRepository, UserRepository):
    """Stores users in PostgreSQL."""

    @override
    async def get(self, user_id: UUID) -> User:
        rows = await self._session.fetch(_GET, {"id": user_id})
        if not rows:
            raise UserNotFoundError
        return _MAPPER.entity(rows[0])

    @override
    async def find_by_email(self, email: str) -> User | None:
        rows = await self._session.fetch(_FIND_BY_EMAIL, {"email_normalized": normalize_email(email)})
        return _MAPPER.entity(rows[0]) if rows else None

    @override
    async def list(self, *, limit: int, after: UUID | None = None, is_active: bool | None = None) -> Sequence[User]:
        statement = _list(after=after is not None, is_active=is_active is not None)
        rows = await self._session.fetch(statement, {"limit": limit, "after": after, "is_active": is_active})
        return [_MAPPER.entity(row) for row in rows]

    @override
    async def add(self, user: User) -> None:
        async def raise_unless_stored() -> None:
            if not await self._session.fetch(_GET, {"id": user.id}):
                raise EmailAlreadyRegisteredError

        self._session.write(_ADD, _MAPPER.values(user) | self.actor_values, on_no_row=raise_unless_stored)

    @override
    async def update(self, user: User) -> None:
        parameters = _MAPPER.values(user) | _MAPPER.stored(user, user.version - 1) | self.actor_values
        self._session.write(_UPDATE, parameters, on_no_row=raise_concurrent_update)

    @override
    async def delete(self, user: User) -> None:
        stored = _MAPPER.stored(user, user.version)
        self._session.write(_LOCK, stored, on_no_row=raise_concurrent_update)
        self._session.write(_DELETE, stored | self.actor_values | {"request_id": None})
        self._session.write(ERASE_REQUEST_IDS, stored)

    @override
    async def find_expired(self, *, unchanged_for: timedelta) -> User | None:
        rows = await self._session.fetch(_FIND_EXPIRED, {"unchanged_for": unchanged_for, "limit": 1}, writes=True)
        return _MAPPER.entity(rows[0]) if rows else None

    @override
    async def count_expired(self, *, unchanged_for: timedelta) -> int:
        return int(await self._fetch_value(_COUNT_EXPIRED, unchanged_for=unchanged_for))
