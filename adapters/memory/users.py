"""Users in memory."""

from collections.abc import Sequence, Sized
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from typing_extensions import override

from adapters.memory.tables import InMemoryRepository, StoredRecord, Subject, Tables, newest, require_version
from application.ports import UserRepository
from domain.audit import AuditOperation
from domain.email import normalize_email
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError


class InMemoryUserRepository(InMemoryRepository, UserRepository):
    """Stores users in memory."""

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
        users = self._view.tables().users.values()
        return newest((user for user in users if is_active in {None, user.is_active}), limit=limit, after=after)

    @override
    async def add(self, user: User) -> None:
        def write(tables: Tables) -> None:
            if user.id not in tables.users:
                _put(tables, user)
                self._view.add_audit_entry(tables, AuditOperation.CREATED, None, user)

        self._view.write(write)

    @override
    async def update(self, user: User) -> None:
        def write(tables: Tables) -> None:
            before = require_version(tables.users.get(user.id), user.version - 1)
            del tables.user_ids[normalize_email(before.email)]
            _put(tables, user)
            self._view.add_audit_entry(tables, AuditOperation.UPDATED, before, user)

        self._view.write(write)

    @override
    async def delete(self, user: User) -> None:
        def write(tables: Tables) -> None:
            stored = require_version(tables.users.pop(user.id, None), user.version)
            del tables.user_ids[normalize_email(stored.email)]
            posts = [post for post in tables.posts.values() if post.author_id == user.id]
            keys = [key for key in tables.api_keys.values() if key.user_id == user.id]
            for post in posts:
                del tables.posts[post.id]
            for key in keys:
                del tables.api_keys[key.id]
            subjects: list[Subject] = [*posts, *keys, stored]
            for subject in subjects:
                self._view.add_audit_entry(tables, AuditOperation.DELETED, subject, None)
            tables.audit_entries = {
                id_: replace(entry, request_id=None) if entry.user_id == user.id else entry
                for id_, entry in tables.audit_entries.items()
            }
            records = tables.idempotency_records
            responses = {id_ for id_, stored in records.items() if _has_response(stored, user)}
            tables.idempotency_records = {
                id_: _erase_response(stored) if id_ in responses else stored
                for id_, stored in records.items()
                if stored.record.api_key_id in tables.api_keys
            }
            erased: dict[str, Sized] = {
                "users": [user],
                "posts": posts,
                "api_keys": keys,
                "idempotency_records": responses,
            }
            self._view.add_erasure_receipt(tables, user.id, {name: len(rows) for name, rows in erased.items()})

        self._view.write(write)

    @override
    async def find_expired(self, *, unchanged_for: timedelta) -> User | None:
        expired = (user for user in self._expired(unchanged_for) if self._view.is_unlocked(user.id))
        user = min(expired, key=lambda user: user.created_at, default=None)
        if user is not None:
            self._view.lock("purge", user.id)
        return user

    @override
    async def count_expired(self, *, unchanged_for: timedelta) -> int:
        return len(self._expired(unchanged_for))

    def _expired(self, unchanged_for: timedelta) -> Sequence[User]:
        latest, users = self._view.clock() - unchanged_for, self._view.tables().users.values()
        return [user for user in users if not user.is_active and user.updated_at <= latest]


def _has_response(stored: StoredRecord, user: User) -> bool:
    return stored.record.subject_id == user.id and stored.record.response != b""


def _erase_response(stored: StoredRecord) -> StoredRecord:
    return stored._replace(record=replace(stored.record, response=b""))


def _put(tables: Tables, user: User) -> None:
    if tables.user_ids.setdefault(normalize_email(user.email), user.id) != user.id:
        raise EmailAlreadyRegisteredError
    tables.users[user.id] = user
