"""The stored entities, the rules of each write, and the view of a unit of work."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypeVar
from uuid import UUID

from application.idempotency import IdempotencyRecord
from application.ports import ConcurrentUpdateError
from domain.api_keys import ApiKey
from domain.email import normalize_email
from domain.posts import Post
from domain.users import EmailAlreadyRegisteredError, User

IdempotencyRecordId = tuple[UUID, bytes]
Locks = dict[tuple[Literal["add", "purge"], IdempotencyRecordId], "TransactionView"]
"""The active unit of work that added or purged each idempotency record."""


def idempotency_record_id(record: IdempotencyRecord) -> IdempotencyRecordId:
    """Return the key of an idempotency record."""
    return record.api_key_id, record.key_hash


E = TypeVar("E", User, Post)


def require_version(stored: E | None, version: int) -> E:
    """Return the stored entity if it has this version. Raises ConcurrentUpdateError otherwise."""
    if stored is None or stored.version != version:
        raise ConcurrentUpdateError
    return stored


@dataclass(slots=True)
class Tables:
    """All entities by ID, and the IDs of users by normalized address."""

    users: dict[UUID, User] = field(default_factory=dict)
    user_ids: dict[str, UUID] = field(default_factory=dict)
    posts: dict[UUID, Post] = field(default_factory=dict)
    api_keys: dict[UUID, ApiKey] = field(default_factory=dict)
    idempotency_records: dict[IdempotencyRecordId, IdempotencyRecord] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """Return a copy for writes."""
        return Tables(**{table.name: getattr(self, table.name).copy() for table in fields(self)})

    def replace_by(self, other: "Tables") -> None:
        """Take over the content of a copy."""
        for table in fields(self):
            setattr(self, table.name, getattr(other, table.name))

    def add_user(self, user: User) -> None:
        """Insert a user, unless one with this ID exists. Raises EmailAlreadyRegisteredError."""
        if user.id not in self.users:
            self._put_user(user)

    def update_user(self, user: User) -> None:
        """Replace the previous version of a user. Raises ConcurrentUpdateError, EmailAlreadyRegisteredError."""
        before = require_version(self.users.get(user.id), user.version - 1)
        del self.user_ids[normalize_email(before.email)]
        self._put_user(user)

    def delete_user(self, user: User) -> None:
        """Delete a user and all dependent rows. Raises ConcurrentUpdateError."""
        stored = require_version(self.users.get(user.id), user.version)
        del self.users[user.id]
        del self.user_ids[normalize_email(stored.email)]
        self.posts = {id_: post for id_, post in self.posts.items() if post.author_id != user.id}
        self.api_keys = {id_: key for id_, key in self.api_keys.items() if key.user_id != user.id}
        self.idempotency_records = {
            id_: replace(record, response=b"") if record.subject_id == user.id else record
            for id_, record in self.idempotency_records.items()
            if record.api_key_id in self.api_keys
        }

    def _put_user(self, user: User) -> None:
        if self.user_ids.setdefault(normalize_email(user.email), user.id) != user.id:
            raise EmailAlreadyRegisteredError
        self.users[user.id] = user


class TransactionView:
    """The tables in one unit of work: the committed state and the pending writes."""

    def __init__(self, tables: Tables, locks: Locks, *, readonly: bool = False) -> None:
        self._stored = tables
        self._locks = locks
        self._readonly = readonly
        self._writes: list[Callable[[Tables], None]] = []
        self._failure: Exception | None = None

    def tables(self) -> Tables:
        """Return the tables that a read uses."""
        return self._written() if self._writes else self._stored

    def write(self, change: Callable[[Tables], None]) -> None:
        """Add a pending write, which may raise in `commit`."""
        if self._readonly:
            raise RuntimeError("This unit of work only reads.")
        self._writes.append(change)

    def is_unlocked(self, operation: Literal["add", "purge"], id_: IdempotencyRecordId) -> bool:
        """Return True unless a different active unit of work added or purged the record."""
        return self._locks.get((operation, id_), self) is self

    def lock(self, operation: Literal["add", "purge"], id_: IdempotencyRecordId) -> bool:
        """Lock a record until `release`. Return False if a different unit of work has locked it."""
        return self._locks.setdefault((operation, id_), self) is self

    def commit(self) -> None:
        """Apply all pending writes, or none if one of them raises."""
        if self._writes:
            self._stored.replace_by(self._written())

    def release(self) -> None:
        """Release all locks."""
        for key in [key for key, view in self._locks.items() if view is self]:
            del self._locks[key]

    def _written(self) -> Tables:
        if self._failure is not None:
            raise self._failure
        tables = self._stored.copy()
        try:
            for change in self._writes:
                change(tables)
        except Exception as error:
            self._failure = error
            raise
        return tables
