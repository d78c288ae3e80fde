"""Requests that are executed once, however often they are sent.

The semantics are those of the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header-07). The record of a
request is stored in the transaction of its effect. A repeated request returns the recorded result. A request without
an effect stores no record and can be retried.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from application.authorization import Principal
from application.ports import StorageUnavailableError, UnitOfWork
from application.transactions import SupportsTransactions, transactional
from domain.errors import DomainError, ErrorKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRecord:
    """The stored record of an idempotent request.

    `api_key_id` (the first API key of the family) and `key_hash` (a hash of the idempotency key) identify the record.
    `fingerprint` is a hash of the request. `response` is the sealed result. It is empty after the user whom it concerns
    (`subject_id`) was deleted. The record expires `ttl` after it was stored, by the clock of the storage.
    """

    api_key_id: UUID
    key_hash: bytes
    fingerprint: bytes
    response: bytes = field(repr=False)
    subject_id: UUID | None
    ttl: timedelta


class IdempotencyInFlightError(DomainError):
    """An identical request is in progress."""

    code = "idempotency-in-flight"
    kind = ErrorKind.CONFLICT
    message = "A request with this idempotency key is in progress."


class IdempotencyKeyReusedError(DomainError):
    """A different request was sent with the same idempotency key."""

    code = "idempotency-key-reused"
    kind = ErrorKind.INVALID
    message = "This idempotency key was used with a different request."


class IdempotencyRecordErasedError(DomainError):
    """The request was executed, and its recorded result was erased since."""

    code = "idempotency-record-erased"
    kind = ErrorKind.GONE
    message = "The request was executed before. The user whom its result concerns was deleted since."


class ResultSeal(Protocol[T]):
    """Encrypts the result of one request for storage."""

    def seal(self, result: T) -> bytes:
        """Return the encrypted result."""

    def unseal(self, sealed: bytes) -> T:
        """Return the result that `seal` encrypted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentRequest(Generic[T]):
    """An idempotent request: its identity, its time to live, and the seal of its result."""

    api_key_id: UUID
    key_hash: bytes
    fingerprint: bytes
    ttl: timedelta
    seal: ResultSeal[T]


class Created(NamedTuple, Generic[T]):
    """The result of a use case that creates something. `is_replay` is True if an earlier request created it."""

    value: T
    is_replay: bool = False


async def create_once(
    service: SupportsTransactions,
    principal: Principal,
    once: IdempotentRequest[T] | None,
    result: T,
    add: Callable[[UnitOfWork], Awaitable[None]],
    *,
    subject_id: UUID | None,
) -> Created[T]:
    """Run `add` in a transaction with the record of the request, and return `result`.

    If an earlier execution of the same request is recorded, return its result. Without `once`, no record is stored.
    """
    if once is None:
        await _add(service, principal, add, None)
        return Created(result)
    record = IdempotencyRecord(
        api_key_id=once.api_key_id,
        key_hash=once.key_hash,
        fingerprint=once.fingerprint,
        response=once.seal.seal(result),
        subject_id=subject_id,
        ttl=once.ttl,
    )
    earlier = await _add(service, principal, add, record)
    return Created(result) if earlier is None else Created(once.seal.unseal(earlier.response), is_replay=True)


@transactional
async def _add(
    _service: SupportsTransactions,
    work: UnitOfWork,
    _principal: Principal,
    add: Callable[[UnitOfWork], Awaitable[None]],
    record: IdempotencyRecord | None,
) -> IdempotencyRecord | None:
    try:
        earlier = None if record is None else await work.idempotency.add(record)
    except IdempotencyInFlightError:
        if work.has_lost_connection:  # the request in progress can be the earlier attempt, which ends soon
            raise StorageUnavailableError from None
        raise
    if earlier is None:
        await add(work)
    return earlier


def earlier_execution(stored: IdempotencyRecord, record: IdempotencyRecord) -> IdempotencyRecord | None:
    """Return `stored` if it records an earlier execution of the same request, None if it is `record` itself.

    It is `record` itself if an earlier attempt stored it and the result of its commit was lost. Raises
    IdempotencyKeyReusedError if the requests differ, and IdempotencyRecordErasedError if the recorded result was
    erased.
    """
    if stored == record:
        return None
    if stored.fingerprint != record.fingerprint:
        raise IdempotencyKeyReusedError
    if not stored.response:
        raise IdempotencyRecordErasedError
    return stored
