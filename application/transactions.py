"""`@transactional` and `@readonly`: run a use case in one unit of work, and retry it on transient errors."""

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import (
    CommitResultUnknownError,
    Storage,
    StorageBusyError,
    StorageFailedError,
    StorageTimeoutError,
    StorageUnavailableError,
    TransientStorageError,
    UnitOfWork,
)

Observer = Callable[[TransientStorageError], None]
"""Receives each error that is followed by a retry. It must not raise."""


def noop_observer(_: TransientStorageError) -> None:
    """Ignore the error."""


_NOT_RETRIED = (StorageBusyError, StorageTimeoutError, StorageFailedError)
"""Errors that are not retried: the attempt waited long and other requests wait too, or a retry fails as well."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The retry policy for transient errors. Times are in seconds.

    The delay before attempt n+1 is uniform between 0 and `base_delay * 2**n`, at most `max_delay` ("full jitter": M.
    Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015). No attempt starts after `max_elapsed`.
    """

    max_elapsed: float = 8.0
    base_delay: float = 0.005
    max_delay: float = 0.25
    observer: Observer = noop_observer

    def backoff(self, attempt: int) -> float:
        """Return the delay after an attempt, which are numbered from 1."""
        most = min(self.max_delay, self.base_delay * 2 ** min(attempt, 30))
        return random.uniform(0, most)  # noqa: S311 - not used for security


class SupportsTransactions(Protocol):
    """The attributes that the decorators use."""

    @property
    def storage(self) -> Storage:
        """Creates the units of work."""

    @property
    def retry(self) -> RetryPolicy:
        """The retry policy."""


S = TypeVar("S", bound=SupportsTransactions)
UseCase = Callable[Concatenate[S, UnitOfWork, P], Awaitable[T]]
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def transactional(use_case: UseCase[S, Concatenate[Principal, P], T]) -> Method[S, Concatenate[Principal, P], T]:
    """Run the method in a transaction, which is committed before the method returns.

    The decorator passes the unit of work as the first argument. The next one is the principal, which audit entries
    name as the actor. The method may run several times, so its caller creates IDs and times. If the result of a commit
    is unknown, later attempts see it in `UnitOfWork.lost_commits`. If none of them succeeds, the method raises
    CommitResultUnknownError or a different StorageUnavailableError: the write may be stored, so no error may claim
    otherwise.
    """
    return _with_retries(use_case, is_readonly=False)


def readonly(use_case: UseCase[S, P, T]) -> Method[S, P, T]:
    """Run the method in a read-only unit of work, with the retries of `transactional`."""
    return _with_retries(use_case, is_readonly=True)


def _with_retries(use_case: UseCase[S, P, T], *, is_readonly: bool) -> Method[S, P, T]:
    @functools.wraps(use_case)
    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        started = time.monotonic()
        attempt = lost_commits = 0
        lost_connections: list[object] = []
        has_lost_connection = False
        actor = SYSTEM_PRINCIPAL if is_readonly else cast("Principal", args[0])
        while True:
            attempt += 1
            try:
                async with self.storage.readonly() if is_readonly else self.storage.transaction(actor) as work:
                    work.lost_commits, work.has_lost_connection = lost_commits, has_lost_connection
                    if lost_connections:
                        await work.end_connections(lost_connections)
                        lost_connections.clear()
                    return await use_case(self, work, *args, **kwargs)
            except TransientStorageError as failure:
                lost_commits += isinstance(failure, CommitResultUnknownError)
                if not is_readonly and isinstance(failure, StorageUnavailableError) and failure.lost_connection:
                    lost_connections.append(failure.lost_connection)
                    has_lost_connection = True
                pause = self.retry.backoff(attempt)
                if isinstance(failure, _NOT_RETRIED) or time.monotonic() + pause - started > self.retry.max_elapsed:
                    if lost_commits and not isinstance(failure, StorageUnavailableError):
                        raise CommitResultUnknownError from failure  # the failure would claim that no write was stored
                    raise
                self.retry.observer(failure)
            await asyncio.sleep(pause)

    return method
