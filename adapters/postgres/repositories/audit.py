"""Audit entries in PostgreSQL. The statement of a change also inserts its entry."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Delete,
    FromClause,
    Interval,
    Select,
    Text,
    Update,
    Uuid,
    bindparam,
    cast,
    extract,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert
from typing_extensions import override

from adapters.postgres.models import API_KEYS, AUDIT_ENTRIES, POSTS, USERS
from adapters.postgres.row_mapper import WRITTEN, RowMapper
from adapters.postgres.session import PgRepository
from application.ports import AuditRepository
from domain.audit import ActorKind, AuditEntry, AuditOperation, SubjectKind

_MAPPER: RowMapper[AuditEntry] = RowMapper(
    AUDIT_ENTRIES,
    AuditEntry,
    read={"actor_kind": ActorKind, "operation": AuditOperation, "subject_kind": SubjectKind, "changed_fields": tuple},
)
_SUBJECTS: dict[FromClause, tuple[SubjectKind, ColumnElement[Any]]] = {
    USERS: (SubjectKind.USER, USERS.c.id),
    POSTS: (SubjectKind.POST, POSTS.c.author_id),
    API_KEYS: (SubjectKind.API_KEY, API_KEYS.c.user_id),
}
"""The kind of the rows of a table, and the column of the user whom a row concerns."""
ACTOR = [
    bindparam(name, type_=AUDIT_ENTRIES.c[name].type, required=True)
    for name in ("actor_kind", "actor_id", "request_id")
]
"""The parameters of a write that name its actor (`PgRepository.actor_values`)."""
NO_FIELDS = literal_column("'{}'::text[]", ARRAY(Text))
_NO_VERSION = cast(null(), BigInteger)
# The time of the write and not of the transaction: a write waits for earlier ones of the same row.
_TIME = func.clock_timestamp()


def _uuid7(time: ColumnElement[Any], random_digits: str) -> ColumnElement[Any]:
    """Return a UUIDv7 of a time. PostgreSQL has no function for it before version 18.

    The 12 bits after the milliseconds continue the time (RFC 9562 section 6.2, method 3), so that later IDs are
    greater.
    """
    ticks = cast(extract("epoch", time) * literal_column("4096000"), BigInteger)
    digits = func.lpad(func.to_hex(ticks), literal_column("15"), literal_column("'0'"))
    versioned = func.overlay(digits, literal_column("'7'"), literal_column("13"), literal_column("0"), type_=Text)
    return cast(versioned.concat(literal_column(random_digits, Text)), Uuid)


def with_entry(
    write: Insert | Update | Delete,
    operation: AuditOperation,
    *,
    changed_fields: ColumnElement[Any] = NO_FIELDS,
    actors: FromClause | None = None,
) -> ReturningInsert[Any]:
    """Return a statement that also inserts an audit entry for each written row. It returns the IDs of these rows.

    The parameters `ACTOR` name the actor, unless `actors` has their columns for each ID.
    """
    kind, user_id = _SUBJECTS[write.table]
    columns = write.table.c
    version = columns.version if "version" in columns else _NO_VERSION
    written = write.returning(columns.id, user_id.label("user_id"), version.label("version")).cte("written")
    before, after = {
        AuditOperation.CREATED: (_NO_VERSION, written.c.version),
        AuditOperation.DELETED: (written.c.version, _NO_VERSION),
    }.get(operation, (written.c.version - literal_column("1"), written.c.version))
    actor: Sequence[ColumnElement[Any]] = ACTOR if actors is None else [actors.c[value.key] for value in ACTOR]
    entry = {
        "id": _uuid7(_TIME, "right(gen_random_uuid()::text, 17)"),
        "created_at": _TIME,
        **{value.key: column for value, column in zip(ACTOR, actor, strict=True)},
        "operation": literal_column(f"'{operation}'", Text),
        "subject_kind": literal_column(f"'{kind}'", Text),
        "subject_id": written.c.id,
        "user_id": written.c.user_id,
        "changed_fields": changed_fields,
        "version_before": before,
        "version_after": after,
    }
    rows = select(*entry.values()).select_from(written)
    if actors is not None:
        rows = rows.join(actors, actors.c.id == written.c.id)
    return insert(AUDIT_ENTRIES).from_select(list(entry), rows).returning(AUDIT_ENTRIES.c.subject_id)


ERASE_REQUEST_IDS = (
    AUDIT_ENTRIES.update()
    .where(AUDIT_ENTRIES.c.user_id == bindparam("stored_id"), AUDIT_ENTRIES.c.request_id.is_not(None))
    .values(request_id=null())
    .returning(WRITTEN)
)
# IDs are in the order of time.
_OLDEST = _uuid7(func.now() - bindparam("older_than", type_=Interval), "'8000-000000000000'")
_IS_EXPIRED = AUDIT_ENTRIES.c.id < _OLDEST
_PURGE = _MAPPER.delete_expired(_IS_EXPIRED, AUDIT_ENTRIES.c.id).returning(WRITTEN)
_COUNT_EXPIRED = _MAPPER.count(_IS_EXPIRED)


@cache
def _list(filters: frozenset[str], *, after: bool) -> Select[Any]:
    """Return a query for a page of entries. `filters` are columns that must have the values of their parameters."""
    conditions = [AUDIT_ENTRIES.c[name] == bindparam(name) for name in sorted(filters)]
    return _MAPPER.select_page(after=after).where(*conditions)


class SqlAlchemyAuditRepository(PgRepository, AuditRepository):
    """Stores audit entries in PostgreSQL."""

    @override
    async def list(
        self,
        *,
        limit: int,
        after: UUID | None = None,
        subject_id: UUID | None = None,
        actor_id: UUID | None = None,
        user_id: UUID | None = None,
    ) -> Sequence[AuditEntry]:
        filters = {"subject_id": subject_id, "actor_id": actor_id, "user_id": user_id}
        given = frozenset(name for name, value in filters.items() if value is not None)
        statement = _list(given, after=after is not None)
        rows = await self._session.fetch(statement, {"limit": limit, "after": after, **filters})
        return [_MAPPER.entity(row) for row in rows]

    @override
    async def purge(self, *, older_than: timedelta, limit: int) -> int:
        return len(await self._session.fetch(_PURGE, {"older_than": older_than, "limit": limit}, writes=True))

    @override
    async def count_expired(self, *, older_than: timedelta) -> int:
        return int(await self._fetch_value(_COUNT_EXPIRED, older_than=older_than))
