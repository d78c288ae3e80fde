"""Idempotency records in PostgreSQL."""

import struct
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Integer, Interval, bindparam, func, select
from typing_extensions import override

from adapters.postgres.models import IDEMPOTENCY_RECORDS
from adapters.postgres.row_mapper import WRITTEN, RowMapper
from adapters.postgres.session import PgRepository
from adapters.postgres.sqlstate import ConstraintErrors
from application.authorization import UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyRecord, earlier_execution
from application.ports import IdempotencyRepository


def _to_record(*, created_at: datetime, expires_at: datetime, **columns: Any) -> IdempotencyRecord:
    return IdempotencyRecord(ttl=expires_at - created_at, **columns)


_MAPPER: RowMapper[IdempotencyRecord] = RowMapper(
    IDEMPOTENCY_RECORDS,
    _to_record,
    computed={"created_at": func.now(), "expires_at": func.now() + bindparam("ttl", type_=Interval)},
)


def _lock_id(record: IdempotencyRecord) -> dict[str, int]:
    """Return the key of the advisory lock of a record: 64 bits of its identity."""
    bits = int.from_bytes(record.key_hash[:8]) ^ (record.api_key_id.int & 0xFFFF_FFFF_FFFF_FFFF)
    high, low = struct.unpack(">ii", bits.to_bytes(8))
    return {"lock_high": high, "lock_low": low}


# The lock ends with the transaction. A concurrent unit of work fails at once, while the unique index would block it.
# Locks with two keys do not conflict with locks with one key, such as the migration lock.
_LOCK = func.pg_try_advisory_xact_lock(bindparam("lock_high", type_=Integer), bindparam("lock_low", type_=Integer))
_INSERT = _MAPPER.insert_where(_LOCK)
_ADD = _INSERT.on_conflict_do_update(
    index_elements=list(IDEMPOTENCY_RECORDS.primary_key),
    set_={column.name: _INSERT.excluded[column.name] for column in IDEMPOTENCY_RECORDS.c if not column.primary_key},
    where=IDEMPOTENCY_RECORDS.c.expires_at <= _INSERT.excluded.created_at,
).returning(WRITTEN)
_GET = _MAPPER.select_by_key().where(IDEMPOTENCY_RECORDS.c.expires_at > func.now())
_IS_EXPIRED = IDEMPOTENCY_RECORDS.c.expires_at <= func.now()
_PURGE = _MAPPER.delete_expired(_IS_EXPIRED, IDEMPOTENCY_RECORDS.c.expires_at).returning(WRITTEN)
_COUNT_EXPIRED = _MAPPER.count(_IS_EXPIRED)
_PURGE_LAG = select(func.now() - func.min(IDEMPOTENCY_RECORDS.c.expires_at))


CONSTRAINT_ERRORS: ConstraintErrors = {"fk_idempotency_records_api_key_id_api_keys": UnauthenticatedError}


class SqlAlchemyIdempotencyRepository(PgRepository, IdempotencyRepository):
    """Stores idempotency records in PostgreSQL."""

    @override
    async def add(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        parameters = _MAPPER.values(record) | _lock_id(record) | {"ttl": record.ttl}
        if await self._session.fetch(_ADD, parameters, writes=True):
            return None
        rows = await self._session.fetch(_GET, {"api_key_id": record.api_key_id, "key_hash": record.key_hash})
        if not rows:
            raise IdempotencyInFlightError
        return earlier_execution(_MAPPER.entity(rows[0]), record)

    @override
    async def purge(self, *, limit: int) -> int:
        return len(await self._session.fetch(_PURGE, {"limit": limit}, writes=True))

    @override
    async def count_expired(self) -> int:
        return int(await self._fetch_value(_COUNT_EXPIRED))

    @override
    async def purge_lag(self) -> timedelta:
        return max(await self._fetch_value(_PURGE_LAG) or timedelta(), timedelta())
