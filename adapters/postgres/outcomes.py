"""Idempotency records in PostgreSQL."""

import struct
from datetime import datetime

from sqlalchemy import Integer, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from typing_extensions import override

from adapters.postgres.errors import ConstraintErrors
from adapters.postgres.row_mapper import WRITTEN, RowMapper
from adapters.postgres.session import Session
from adapters.postgres.tables import OUTCOMES
from application.authorization import UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyRecord, earlier_execution
from application.ports import IdempotencyRepository

_MAPPER: RowMapper[IdempotencyRecord] = RowMapper(OUTCOMES, IdempotencyRecord)


def _lock(outcome: IdempotencyRecord) -> dict[str, int]:
    """Return the key of the advisory lock of a record: 64 bits of its identity."""
    bits = int.from_bytes(outcome.key_hash[:8]) ^ (outcome.api_key_id.int & 0xFFFF_FFFF_FFFF_FFFF)
    high, low = struct.unpack(">ii", bits.to_bytes(8))
    return {"lock_high": high, "lock_low": low}


# The lock ends with the transaction. A concurrent unit of work fails at once, while the unique index would block it.
# Locks with two keys do not conflict with locks with one key, such as the migration lock.
_LOCK = func.pg_try_advisory_xact_lock(bindparam("lock_high", type_=Integer), bindparam("lock_low", type_=Integer))
_INSERT = insert(OUTCOMES).from_select(
    [column.name for column in OUTCOMES.c],
    select(*[bindparam(column.name, type_=column.type) for column in OUTCOMES.c]).where(_LOCK),
)
_ADD = _INSERT.on_conflict_do_update(
    index_elements=list(OUTCOMES.primary_key),
    set_={column.name: _INSERT.excluded[column.name] for column in OUTCOMES.c if not column.primary_key},
    where=OUTCOMES.c.expires_at <= _INSERT.excluded.created_at,
).returning(WRITTEN)
_GET = _MAPPER.select_by_key()
# A CTE is executed once. A subquery can be executed again, and would then lock and delete further rows.
_EXPIRED = (
    select(OUTCOMES.c.key_id, OUTCOMES.c.name)
    .where(OUTCOMES.c.expires_at <= bindparam("now"))
    .order_by(OUTCOMES.c.expires_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("expired")
)
_PURGE = (
    delete(OUTCOMES)
    .where(OUTCOMES.c.key_id == _EXPIRED.c.key_id, OUTCOMES.c.name == _EXPIRED.c.name)
    .returning(WRITTEN)
)
_FIRST_EXPIRY = select(func.min(OUTCOMES.c.expires_at))


CONSTRAINT_ERRORS: ConstraintErrors = {"fk_outcomes_key_id_api_keys": UnauthenticatedError}


class SqlAlchemyOutcomeRepository(IdempotencyRepository):
    """Stores idempotency records in PostgreSQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @override
    async def add(self, outcome: IdempotencyRecord) -> IdempotencyRecord | None:
        if await self._session.write_at_once(_ADD, _MAPPER.values(outcome) | _lock(outcome)):
            return None
        rows = await self._session.fetch(_GET, {"key_id": outcome.api_key_id, "name": outcome.key_hash})
        stored = _MAPPER.entity(rows[0]) if rows else None
        if stored is None or stored.expires_at <= outcome.created_at:
            raise IdempotencyInFlightError
        return earlier_execution(stored, outcome)

    @override
    async def purge(self, *, now: datetime, limit: int) -> int:
        return len(await self._session.write_at_once(_PURGE, {"now": now, "limit": limit}))

    @override
    async def oldest_expiry(self) -> datetime | None:
        rows = await self._session.fetch(_FIRST_EXPIRY, {})
        found: datetime | None = rows[0][0]
        return found
