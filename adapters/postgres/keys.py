"""The API keys in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from typing_extensions import override

from adapters.postgres.drivers import Row
from adapters.postgres.session import WRITTEN, Session
from adapters.postgres.tables import API_KEYS
from application.ports import ApiKeyRepository
from domain.keys import ApiKey, ApiKeyNotFoundError, HashedSecret, Scope

_COLUMNS = (
    API_KEYS.c.id,
    API_KEYS.c.name,
    API_KEYS.c.scopes,
    API_KEYS.c.user_id,
    API_KEYS.c.pepper,
    API_KEYS.c.digest,
    API_KEYS.c.created_at,
    API_KEYS.c.expires_at,
    API_KEYS.c.last_used_at,
    API_KEYS.c.revoked_at,
)
_SCOPES = {str(scope): scope for scope in Scope}


def _key(row: Row) -> ApiKey:
    id_, name, scopes, user_id, pepper, digest, created_at, expires_at, last_used_at, revoked_at = row
    return ApiKey(
        id=id_,
        name=name,
        # A scope that this release does not know, because the next one stored it, allows nothing here.
        scopes=frozenset(_SCOPES[scope] for scope in scopes if scope in _SCOPES),
        user_id=user_id,
        secret=HashedSecret(pepper=pepper, digest=digest),
        created_at=created_at,
        expires_at=expires_at,
        last_used_at=last_used_at,
        revoked_at=revoked_at,
    )


def _values(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(str(scope) for scope in key.scopes),
        "user_id": key.user_id,
        "pepper": key.secret.pepper,
        "digest": key.secret.digest,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


_GET = select(*_COLUMNS).where(API_KEYS.c.id == bindparam("id"))
_ADD = insert(API_KEYS).on_conflict_do_nothing(index_elements=[API_KEYS.c.id]).returning(WRITTEN)
_STORED = update(API_KEYS).where(API_KEYS.c.id == bindparam("stored_id")).returning(WRITTEN)
_TIME = bindparam("time", type_=API_KEYS.c.created_at.type)
_REVOKE = _STORED.values(revoked_at=func.coalesce(API_KEYS.c.revoked_at, _TIME))
# LEAST and GREATEST pass over what is null.
_END = _STORED.where(API_KEYS.c.revoked_at.is_(None)).values(expires_at=func.least(API_KEYS.c.expires_at, _TIME))
_NOTE_USE = _STORED.values(last_used_at=func.greatest(API_KEYS.c.last_used_at, _TIME))


@cache
def _list(*, after: bool) -> Select[Any]:
    statement = select(*_COLUMNS).order_by(API_KEYS.c.id.desc()).limit(bindparam("limit"))
    return statement.where(API_KEYS.c.id < bindparam("after")) if after else statement


async def _refuse_missing() -> None:
    raise ApiKeyNotFoundError


class SqlAlchemyApiKeyRepository(ApiKeyRepository):
    """Stores API keys in PostgreSQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @override
    async def get(self, key_id: UUID) -> ApiKey:
        rows = await self._session.fetch(_GET, {"id": key_id})
        if not rows:
            raise ApiKeyNotFoundError
        return _key(rows[0])

    @override
    async def list(self, *, limit: int, after: UUID | None = None) -> Sequence[ApiKey]:
        rows = await self._session.fetch(_list(after=after is not None), {"limit": limit, "after": after})
        return [_key(row) for row in rows]

    @override
    async def add(self, key: ApiKey) -> None:
        self._session.write(_ADD, _values(key))

    @override
    async def revoke(self, key_id: UUID, *, now: datetime) -> None:
        self._session.write(_REVOKE, {"stored_id": key_id, "time": now}, when_nothing=_refuse_missing)

    @override
    async def end(self, key_id: UUID, *, at: datetime) -> None:
        self._session.write(_END, {"stored_id": key_id, "time": at}, when_nothing=_refuse_missing)

    @override
    async def note_use(self, key_id: UUID, *, now: datetime) -> None:
        self._session.write(_NOTE_USE, {"stored_id": key_id, "time": now})
