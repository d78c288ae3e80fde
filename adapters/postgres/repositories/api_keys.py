"""API keys in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Select, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from typing_extensions import override

from adapters.postgres.models import API_KEYS
from adapters.postgres.repositories.audit import with_entry
from adapters.postgres.row_mapper import WRITTEN, RowMapper
from adapters.postgres.session import PgRepository
from adapters.postgres.sqlstate import ConstraintErrors
from application.ports import ApiKeyRepository
from domain.api_keys import ApiKey, ApiKeyHash, ApiKeyNotFoundError, ApiKeyUserNotFoundError, Scope
from domain.audit import AuditOperation

_SCOPES = {str(scope): scope for scope in Scope}


def _to_api_key(*, scopes: Sequence[str], pepper: int, digest: bytes, **columns: Any) -> ApiKey:
    # A newer release can store scopes that this release does not know. They permit nothing here.
    known = frozenset(_SCOPES[scope] for scope in scopes if scope in _SCOPES)
    return ApiKey(scopes=known, secret_hash=ApiKeyHash(pepper=pepper, digest=digest), **columns)


_MAPPER: RowMapper[ApiKey] = RowMapper(
    API_KEYS,
    _to_api_key,
    write={
        "scopes": lambda key: sorted(map(str, key.scopes)),
        "pepper": lambda key: key.secret_hash.pepper,
        "digest": lambda key: key.secret_hash.digest,
    },
)
_GET = _MAPPER.select_by_key()
_NOW = select(func.now())
_GET_WITH_TIME = _GET.add_columns(func.now())
_ADD = with_entry(
    insert(API_KEYS).values(_MAPPER.bindparams()).on_conflict_do_nothing(index_elements=[API_KEYS.c.id]),
    AuditOperation.CREATED,
)
_UPDATE_BY_ID = update(API_KEYS).where(API_KEYS.c.id == bindparam("stored_id"))
_UPDATE_VALID = _UPDATE_BY_ID.where(API_KEYS.c.revoked_at.is_(None))
_TIME = bindparam("time", type_=API_KEYS.c.created_at.type)
_REVOKE = with_entry(_UPDATE_VALID.values(revoked_at=_TIME), AuditOperation.REVOKED)
_SET_EXPIRY = with_entry(
    _UPDATE_VALID.where(or_(API_KEYS.c.expires_at.is_(None), API_KEYS.c.expires_at > _TIME)).values(expires_at=_TIME),
    AuditOperation.ROTATED,
)
# GREATEST ignores null.
_RECORD_USE = _UPDATE_BY_ID.values(last_used_at=func.greatest(API_KEYS.c.last_used_at, _TIME)).returning(WRITTEN)


@cache
def _page(*, after: bool, user_id: bool) -> Select[Any]:
    statement = _MAPPER.select_page(after=after)
    return statement.where(API_KEYS.c.user_id == bindparam("user_id")) if user_id else statement


CONSTRAINT_ERRORS: ConstraintErrors = {"fk_api_keys_user_id_users": ApiKeyUserNotFoundError}


class SqlAlchemyApiKeyRepository(PgRepository, ApiKeyRepository):
    """Stores API keys in PostgreSQL."""

    @override
    async def get(self, key_id: UUID) -> ApiKey:
        rows = await self._session.fetch(_GET, {"id": key_id})
        if not rows:
            raise ApiKeyNotFoundError
        return _MAPPER.entity(rows[0])

    @override
    async def now(self) -> datetime:
        return cast("datetime", await self._fetch_value(_NOW))

    @override
    async def get_with_time(self, key_id: UUID) -> tuple[ApiKey, datetime]:
        rows = await self._session.fetch(_GET_WITH_TIME, {"id": key_id})
        if not rows:
            raise ApiKeyNotFoundError
        *columns, now = rows[0]
        return _MAPPER.entity(columns), now

    @override
    async def list(self, *, limit: int, after: UUID | None = None, user_id: UUID | None = None) -> Sequence[ApiKey]:
        statement = _page(after=after is not None, user_id=user_id is not None)
        rows = await self._session.fetch(statement, {"limit": limit, "after": after, "user_id": user_id})
        return [_MAPPER.entity(row) for row in rows]

    @override
    async def add(self, key: ApiKey) -> None:
        self._session.write(_ADD, _MAPPER.values(key) | self.actor_values)

    @override
    async def revoke(self, key_id: UUID, *, now: datetime) -> None:
        async def require_key() -> None:
            await self.get(key_id)

        self._session.write(_REVOKE, {"stored_id": key_id, "time": now} | self.actor_values, on_no_row=require_key)

    @override
    async def set_expiry(self, key_id: UUID, *, at: datetime) -> None:
        async def require_valid_key() -> None:
            if (await self.get(key_id)).revoked_at is not None:
                raise ApiKeyNotFoundError

        parameters = {"stored_id": key_id, "time": at} | self.actor_values
        self._session.write(_SET_EXPIRY, parameters, on_no_row=require_valid_key)

    @override
    async def record_use(self, key_id: UUID, *, now: datetime) -> None:
        self._session.write(_RECORD_USE, {"stored_id": key_id, "time": now})
