"""Requests that are carried out once, however often they are sent.

The semantics are those of the Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header-07): the outcome is
stored together with the effect, and a repetition gets it again. A request without an effect leaves no outcome: it is
tried anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from domain.errors import ConflictError, DomainError, NotFoundError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a request, and how to know the request again.

    `key_id` and `name`, which is a hash, identify it: an API key, and the name that its owner gave to the request.
    `fingerprint` is a hash of the request. `answer` is whatever the driving adapter needs to answer again, sealed; it
    is empty after the user whom it is about (`subject_id`) was erased.
    """

    key_id: UUID
    name: bytes
    fingerprint: bytes
    answer: bytes = field(repr=False)
    subject_id: UUID | None
    created_at: datetime
    expires_at: datetime


class RepeatedError(Exception):
    """The request was carried out before; `outcome` is what came of it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class IdempotencyInFlightError(ConflictError):
    """The request is being carried out right now."""

    def __init__(self) -> None:
        super().__init__("A request with this idempotency key is still being worked on.")


class IdempotencyKeyReusedError(DomainError):
    """Another request had the same name."""

    def __init__(self) -> None:
        super().__init__("This idempotency key was used before, with another request.")


class OutcomeErasedError(NotFoundError):
    """The request was carried out before, and what came of it was erased since."""

    def __init__(self) -> None:
        super().__init__("This request was carried out before, and the user whom it was about was erased since.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Once(Generic[T]):
    """Has a use case carry out a request once: how to know the request, and how to answer when it is repeated."""

    key_id: UUID
    name: bytes
    fingerprint: bytes
    lasts: timedelta
    answer: Callable[[T], bytes]


def outcome_of(once: Once[T] | None, result: T, *, subject_id: UUID | None, now: datetime) -> Outcome | None:
    """Return the outcome to be stored with the effect, of which `result` is what the use case returns."""
    if once is None:
        return None
    return Outcome(
        key_id=once.key_id,
        name=once.name,
        fingerprint=once.fingerprint,
        answer=once.answer(result),
        subject_id=subject_id,
        created_at=now,
        expires_at=now + once.lasts,
    )


def require_echo(stored: Outcome, outcome: Outcome) -> None:
    """Raise what a stored outcome means for one that was to be stored in its place.

    That is nothing when it is the very one: the echo of an attempt whose acknowledgement was lost. Else it is
    IdempotencyKeyReusedError for another request, OutcomeErasedError or RepeatedError for the same.
    """
    if stored == outcome:
        return
    if stored.fingerprint != outcome.fingerprint:
        raise IdempotencyKeyReusedError
    if not stored.answer:
        raise OutcomeErasedError
    raise RepeatedError(stored)
