"""Idempotency records in memory."""

from datetime import datetime
from heapq import nsmallest

from typing_extensions import override

from adapters.memory.tables import IdempotencyRecordId, Tables, TransactionView, idempotency_record_id
from application.authorization import UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyRecord, earlier_execution
from application.ports import IdempotencyRepository


class InMemoryIdempotencyRepository(IdempotencyRepository):
    """Stores idempotency records in memory."""

    def __init__(self, view: TransactionView) -> None:
        self._view = view

    @override
    async def add(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        tables = self._view.tables()
        stored = tables.idempotency_records.get(idempotency_record_id(record))
        if stored is not None and stored.expires_at > record.created_at:
            return earlier_execution(stored, record)
        if not self._view.lock("add", idempotency_record_id(record)):
            raise IdempotencyInFlightError
        if record.api_key_id not in tables.api_keys:
            raise UnauthenticatedError

        def write(tables: Tables) -> None:
            tables.idempotency_records[idempotency_record_id(record)] = record

        self._view.write(write)
        return None

    @override
    async def purge(self, *, now: datetime, limit: int) -> int:
        removed: list[IdempotencyRecordId] = []

        def write(tables: Tables) -> None:
            expired = (
                record
                for id_, record in tables.idempotency_records.items()
                if record.expires_at <= now
                and self._view.is_unlocked("add", id_)
                and self._view.is_unlocked("purge", id_)
            )
            removed[:] = map(idempotency_record_id, nsmallest(limit, expired, key=lambda record: record.expires_at))
            for id_ in removed:
                self._view.lock("purge", id_)
                del tables.idempotency_records[id_]

        self._view.write(write)
        self._view.tables()  # executes the write, so that the number is known
        return len(removed)

    @override
    async def oldest_expiry(self) -> datetime | None:
        return min((record.expires_at for record in self._view.tables().idempotency_records.values()), default=None)
