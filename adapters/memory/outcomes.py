"""Idempotency records in memory."""

from datetime import datetime
from heapq import nsmallest

from typing_extensions import override

from adapters.memory.tables import OutcomeId, Tables, View, outcome_id
from application.authorization import UnauthenticatedError
from application.idempotency import IdempotencyInFlightError, IdempotencyRecord, earlier_execution
from application.ports import IdempotencyRepository


class InMemoryOutcomeRepository(IdempotencyRepository):
    """Stores idempotency records in memory."""

    def __init__(self, view: View) -> None:
        self._view = view

    @override
    async def add(self, outcome: IdempotencyRecord) -> IdempotencyRecord | None:
        tables = self._view.tables()
        stored = tables.outcomes.get(outcome_id(outcome))
        if stored is not None and stored.expires_at > outcome.created_at:
            return earlier_execution(stored, outcome)
        if not self._view.claim("add", outcome_id(outcome)):
            raise IdempotencyInFlightError
        if outcome.api_key_id not in tables.keys:
            raise UnauthenticatedError

        def write(tables: Tables) -> None:
            tables.outcomes[outcome_id(outcome)] = outcome

        self._view.write(write)
        return None

    @override
    async def purge(self, *, now: datetime, limit: int) -> int:
        removed: list[OutcomeId] = []

        def write(tables: Tables) -> None:
            expired = (
                outcome
                for id_, outcome in tables.outcomes.items()
                if outcome.expires_at <= now and self._view.is_free("add", id_) and self._view.is_free("purge", id_)
            )
            removed[:] = map(outcome_id, nsmallest(limit, expired, key=lambda outcome: outcome.expires_at))
            for id_ in removed:
                self._view.claim("purge", id_)
                del tables.outcomes[id_]

        self._view.write(write)
        self._view.tables()  # executes the write, so that the number is known
        return len(removed)

    @override
    async def oldest_expiry(self) -> datetime | None:
        return min((outcome.expires_at for outcome in self._view.tables().outcomes.values()), default=None)
