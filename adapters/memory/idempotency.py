"""Idempotency records in memory."""

from datetime import timedelta

from typing_extensions import override

from adapters.memory.tables import InMemoryRepository, StoredRecord, Tables
from application.authorization import UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyRecord, earlier_execution
from application.ports import IdempotencyRepository


class InMemoryIdempotencyRepository(InMemoryRepository, IdempotencyRepository):
    """Stores idempotency records in memory."""

    @override
    async def add(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        id_, tables, now = (record.api_key_id, record.key_hash), self._view.tables(), self._view.clock()
        stored = tables.idempotency_records.get(id_)
        if stored is not None and stored.expires_at > now:
            return earlier_execution(stored.record, record)
        if not self._view.lock("add", id_):
            raise IdempotencyInFlightError
        if record.api_key_id not in tables.api_keys:
            raise UnauthenticatedError

        def write(tables: Tables) -> None:
            tables.idempotency_records[id_] = StoredRecord(record, now + record.ttl)

        self._view.write(write)
        return None

    @override
    async def purge(self, *, limit: int) -> int:
        now = self._view.clock()
        return self._view.purge(
            lambda tables: tables.idempotency_records,
            lambda stored: stored.expires_at <= now,
            age=lambda stored: stored.expires_at,
            limit=limit,
        )

    @override
    async def count_expired(self) -> int:
        now, records = self._view.clock(), self._view.tables().idempotency_records.values()
        return sum(stored.expires_at <= now for stored in records)

    @override
    async def purge_lag(self) -> timedelta:
        now, records = self._view.clock(), self._view.tables().idempotency_records.values()
        return max([timedelta(), *[now - stored.expires_at for stored in records]])
