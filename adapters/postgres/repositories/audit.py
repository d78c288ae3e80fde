"""Audit entries and erasure receipts in PostgreSQL. The statement of a change also inserts its entry."""

import json
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
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
    delete,
    extract,
    func,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert
from typing_extensions import override

from adapters.postgres.models import API_KEYS, AUDIT_ENTRIES, ERASURE_RECEIPTS, IDEMPOTENCY_RECORDS, POSTS, USERS
from adapters.postgres.row_mapper import WRITTEN, RowMapper
from adapters.postgres.session import PgRepository
from application.ports import AuditRepository
from domain.audit import (
    ActorKind,
    AuditEntry,
    AuditOperation,
    ErasureNotFoundError,
    ErasureReceipt,
    SubjectKind,
)

_MAPPER: RowMapper[AuditEntry] = RowMapper(
    AUDIT_ENTRIES,
    AuditEntry,
    read={"actor_kind": ActorKind, "operation": AuditOperation, "subject_kind": SubjectKind, "changed_fields": tuple},
)
_RECEIPT_MAPPER: RowMapper[ErasureReceipt] = RowMapper(
    ERASURE_RECEIPTS,
    ErasureReceipt,
    # psycopg decodes JSON, and asyncpg returns its text.
    read={"actor_kind": ActorKind, "erased_rows": lambda rows: json.loads(rows) if isinstance(rows, str) else rows},
)
_SUBJECTS: dict[Any, tuple[SubjectKind, ColumnElement[Any]]] = {
    POSTS: (SubjectKind.POST, POSTS.c.author_id),
    API_KEYS: (SubjectKind.API_KEY, API_KEYS.c.user_id),
    USERS: (SubjectKind.USER, USERS.c.id),
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


def _written_rows(write: Insert | Update | Delete, name: str = "written") -> CTE:
    """Return a write as a CTE with the columns of the written rows that audit entries contain."""
    kind, user_id = _SUBJECTS[write.table]
    columns = write.table.c
    version = columns.version if "version" in columns else _NO_VERSION
    subject_kind = literal_column(f"'{kind}'", Text).label("subject_kind")
    return write.returning(columns.id, subject_kind, user_id.label("user_id"), version.label("version")).cte(name)


def _insert_entries(
    written: FromClause,
    operation: AuditOperation,
    changed_fields: ColumnElement[Any] = NO_FIELDS,
    actors: FromClause | None = None,
) -> Insert:
    """Return the insertion of an audit entry for each written row."""
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
        "subject_kind": written.c.subject_kind,
        "subject_id": written.c.id,
        "user_id": written.c.user_id,
        "changed_fields": changed_fields,
        "version_before": before,
        "version_after": after,
    }
    rows = select(*entry.values()).select_from(written)
    if actors is not None:
        rows = rows.join(actors, actors.c.id == written.c.id)
    return insert(AUDIT_ENTRIES).from_select(list(entry), rows)


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
    entries = _insert_entries(_written_rows(write), operation, changed_fields, actors)
    return entries.returning(AUDIT_ENTRIES.c.subject_id)


def erasure(responses: CTE) -> ReturningInsert[Any]:
    """Return a statement that deletes the rows about the user `stored_id`, and inserts their entries and the receipt.

    `responses` is the write that erases the responses of idempotency records, which the receipt also counts.
    """
    deleted = {
        str(table): _written_rows(delete(table).where(user_id == bindparam("stored_id")), f"deleted_{table}")
        for table, (_, user_id) in _SUBJECTS.items()
    }
    entries = _insert_entries(union_all(*map(select, deleted.values())).subquery("written"), AuditOperation.DELETED)
    user = deleted[USERS.name]
    counts = [
        part
        for name, written in {**deleted, IDEMPOTENCY_RECORDS.name: responses}.items()
        for part in (literal_column(f"'{name}'", Text), select(func.count()).select_from(written).scalar_subquery())
    ]
    receipt = {
        "user_id": user.c.id,
        "erased_at": _TIME,
        **{parameter.key: parameter for parameter in ACTOR if parameter.key in ERASURE_RECEIPTS.c},
        "erased_rows": func.jsonb_build_object(*counts),
    }
    added = insert(ERASURE_RECEIPTS).from_select(list(receipt), select(*receipt.values()))
    return added.add_cte(entries.cte("entries")).on_conflict_do_nothing().returning(WRITTEN)


ERASE_REQUEST_IDS = (
    AUDIT_ENTRIES.update()
    .where(AUDIT_ENTRIES.c.user_id == bindparam("stored_id"), AUDIT_ENTRIES.c.request_id.is_not(None))
    .values(request_id=null())
    .returning(WRITTEN)
)
_GET_ERASURE = _RECEIPT_MAPPER.select_by_key()
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
    """Stores audit entries and erasure receipts in PostgreSQL."""

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

    @override
    async def get_erasure(self, user_id: UUID) -> ErasureReceipt:
        rows = await self._session.fetch(_GET_ERASURE, {"user_id": user_id})
        if not rows:
            raise ErasureNotFoundError
        return _RECEIPT_MAPPER.entity(rows[0])
