"""API keys in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from typing_extensions import override

from adapters.memory.tables import InMemoryRepository, Tables, newest
from application.ports import ApiKeyRepository
from domain.api_keys import ApiKey, ApiKeyNotFoundError, ApiKeyUserNotFoundError
from domain.audit import AuditOperation


class InMemoryApiKeyRepository(InMemoryRepository, ApiKeyRepository):
    """Stores API keys in memory."""

    @override
    async def get(self, key_id: UUID) -> ApiKey:
        key = self._view.tables().api_keys.get(key_id)
        if key is None:
            raise ApiKeyNotFoundError
        return key

    @override
    async def now(self) -> datetime:
        return self._view.clock()

    @override
    async def get_with_time(self, key_id: UUID) -> tuple[ApiKey, datetime]:
        return await self.get(key_id), self._view.clock()

    @override
    async def list(self, *, limit: int, after: UUID | None = None, user_id: UUID | None = None) -> Sequence[ApiKey]:
        keys = self._view.tables().api_keys.values()
        return newest((key for key in keys if user_id in {None, key.user_id}), limit=limit, after=after)

    @override
    async def add(self, key: ApiKey) -> None:
        def write(tables: Tables) -> None:
            if key.id not in tables.api_keys:
                if key.user_id is not None and key.user_id not in tables.users:
                    raise ApiKeyUserNotFoundError
                tables.api_keys[key.id] = key
                self._view.add_audit_entry(tables, AuditOperation.CREATED, None, key)

        self._view.write(write)

    @override
    async def revoke(self, key_id: UUID, *, now: datetime) -> None:
        self._change(key_id, lambda key: key.revoke(now), AuditOperation.REVOKED)

    @override
    async def set_expiry(self, key_id: UUID, *, at: datetime) -> None:
        def set_key_expiry(key: ApiKey) -> ApiKey:
            if key.revoked_at is not None:
                raise ApiKeyNotFoundError
            return key.expire_at(at)

        self._change(key_id, set_key_expiry, AuditOperation.ROTATED)

    @override
    async def record_use(self, key_id: UUID, *, now: datetime) -> None:
        self._change(key_id, lambda key: key.record_use(now), None)

    def _change(self, key_id: UUID, change: Callable[[ApiKey], ApiKey], operation: AuditOperation | None) -> None:
        def write(tables: Tables) -> None:
            key = tables.api_keys.get(key_id)
            if key is None:
                if operation is not None:
                    raise ApiKeyNotFoundError
                return
            changed = tables.api_keys[key_id] = change(key)
            if operation is not None and changed != key:
                self._view.add_audit_entry(tables, operation, key, changed)

        self._view.write(write)
