"""The stored entities, and the view of a unit of work."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from heapq import nlargest, nsmallest
from typing import Literal, NamedTuple, TypeVar
from uuid import UUID

from adapters.clock import new_id
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.idempotency import IdempotencyRecord
from application.ports import Clock, ConcurrentUpdateError
from domain.api_keys import ApiKey
from domain.audit import AuditEntry, AuditOperation, ErasureReceipt, SubjectKind
from domain.posts import Post
from domain.users import User

IdempotencyRecordId = tuple[UUID, bytes]
RowId = UUID | IdempotencyRecordId
Locks = dict[tuple[Literal["add", "purge"], RowId], "TransactionView"]
"""The active unit of work that added an idempotency record, or that purged a row."""

Subject = User | Post | ApiKey
"""An entity whose changes are recorded in audit entries."""

_BOOKKEEPING = frozenset({"updated_at", "version"})
"""Fields that each update changes."""

E = TypeVar("E", User, Post, ApiKey, AuditEntry)
V = TypeVar("V", User, Post)
K = TypeVar("K", UUID, IdempotencyRecordId)
R = TypeVar("R")


def require_version(stored: V | None, version: int) -> V:
    """Return the stored entity if it has this version. Raises ConcurrentUpdateError otherwise."""
    if stored is None or stored.version != version:
        raise ConcurrentUpdateError
    return stored


class StoredRecord(NamedTuple):
    """An idempotency record and its expiry."""

    record: IdempotencyRecord
    expires_at: datetime


@dataclass(slots=True)
class Tables:
    """All entities by ID, and the IDs of users by normalized address."""

    users: dict[UUID, User] = field(default_factory=dict)
    user_ids: dict[str, UUID] = field(default_factory=dict)
    posts: dict[UUID, Post] = field(default_factory=dict)
    api_keys: dict[UUID, ApiKey] = field(default_factory=dict)
    idempotency_records: dict[IdempotencyRecordId, StoredRecord] = field(default_factory=dict)
    audit_entries: dict[UUID, AuditEntry] = field(default_factory=dict)
    erasure_receipts: dict[UUID, ErasureReceipt] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """Return a copy for writes."""
        return Tables(**{table.name: getattr(self, table.name).copy() for table in fields(self)})

    def replace_by(self, other: "Tables") -> None:
        """Take over the content of a copy."""
        for table in fields(self):
            setattr(self, table.name, getattr(other, table.name))


def _describe(subject: Subject) -> tuple[SubjectKind, UUID | None]:
    """Return the kind of a subject, and the user whom it concerns."""
    if isinstance(subject, User):
        return SubjectKind.USER, subject.id
    if isinstance(subject, Post):
        return SubjectKind.POST, subject.author_id
    return SubjectKind.API_KEY, subject.user_id


def _changed_fields(before: Subject | None, after: Subject | None) -> tuple[str, ...]:
    old, new = asdict(before) if before else {}, asdict(after) if after else {}
    return tuple(sorted(name for name in new if name not in _BOOKKEEPING and old[name] != new[name]))


class TransactionView:
    """The tables in one unit of work: the committed state and the pending writes."""

    def __init__(
        self,
        tables: Tables,
        locks: Locks,
        clock: Clock,
        *,
        actor: Principal = SYSTEM_PRINCIPAL,
        readonly: bool = False,
    ) -> None:
        self.clock = clock
        self._stored = tables
        self._locks = locks
        self._actor = actor
        self._readonly = readonly
        self._writes: list[Callable[[Tables], None]] = []

    def tables(self) -> Tables:
        """Return the tables that a read uses. Raises the error of a pending write."""
        if not self._writes:
            return self._stored
        tables = self._stored.copy()
        for change in self._writes:
            change(tables)
        return tables

    def write(self, change: Callable[[Tables], None]) -> None:
        """Add a pending write, which may raise in `tables` and in `end`."""
        if self._readonly:
            raise RuntimeError("This unit of work only reads.")
        self._writes.append(change)

    def add_audit_entry(
        self, tables: Tables, operation: AuditOperation, before: Subject | None, after: Subject | None
    ) -> None:
        """Add the audit entry of a change. `before` and `after` are None if the entity does not exist."""
        subject = after or before
        if subject is None:
            raise ValueError("an audit entry needs a subject")
        kind, user_id = _describe(subject)
        entry = AuditEntry(
            id=new_id(),
            created_at=self.clock(),
            actor_kind=self._actor.kind,
            actor_id=self._actor.api_key_id,
            request_id=self._actor.request_id,
            operation=operation,
            subject_kind=kind,
            subject_id=subject.id,
            user_id=user_id,
            changed_fields=_changed_fields(before, after) if operation is AuditOperation.UPDATED else (),
            version_before=getattr(before, "version", None),
            version_after=getattr(after, "version", None),
        )
        tables.audit_entries[entry.id] = entry

    def add_erasure_receipt(self, tables: Tables, user_id: UUID, erased_rows: Mapping[str, int]) -> None:
        """Add the receipt of an erasure, unless the user has one."""
        receipt = ErasureReceipt(
            user_id=user_id,
            erased_at=self.clock(),
            actor_kind=self._actor.kind,
            actor_id=self._actor.api_key_id,
            erased_rows=erased_rows,
        )
        tables.erasure_receipts.setdefault(user_id, receipt)

    def is_unlocked(self, id_: RowId) -> bool:
        """Return True unless a different active unit of work added or purged the row."""
        return self._locks.get(("add", id_), self) is self and self._locks.get(("purge", id_), self) is self

    def lock(self, operation: Literal["add", "purge"], id_: RowId) -> bool:
        """Lock a row until `end`. Return False if a different unit of work has locked it."""
        return self._locks.setdefault((operation, id_), self) is self

    def purge(
        self,
        table: Callable[[Tables], dict[K, R]],
        is_expired: Callable[[R], bool],
        *,
        age: Callable[[R], datetime],
        limit: int,
        on_purge: Callable[[Tables, R], None] = lambda _tables, _row: None,
    ) -> int:
        """Delete up to `limit` expired rows that are not locked, in the order of `age`, and return their number."""
        purged: list[K] = []

        def write(tables: Tables) -> None:
            rows = table(tables)
            expired = (id_ for id_, row in rows.items() if is_expired(row) and self.is_unlocked(id_))
            purged[:] = nsmallest(limit, expired, key=lambda id_: age(rows[id_]))
            for id_ in purged:
                self.lock("purge", id_)
                on_purge(tables, rows.pop(id_))

        self.write(write)
        self.tables()  # executes the write, so that the number is known
        return len(purged)

    def end(self, *, commit: bool) -> None:
        """Apply all pending writes, or none if one of them raises or without `commit`. Release all locks."""
        try:
            if commit and self._writes:
                self._stored.replace_by(self.tables())
        finally:
            for key in [key for key, view in self._locks.items() if view is self]:
                del self._locks[key]


class InMemoryRepository:
    """A repository that uses the view of a unit of work."""

    def __init__(self, view: TransactionView) -> None:
        self._view = view


def newest(entities: Iterable[E], *, limit: int, after: UUID | None) -> list[E]:
    """Return up to `limit` entities in descending order of ID, below the ID `after` if that is given."""
    found = (entity for entity in entities if after is None or entity.id < after)
    return nlargest(limit, found, key=lambda entity: entity.id)
