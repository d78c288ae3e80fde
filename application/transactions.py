"""`@transactional` and `@readonly`: run a use case in one unit of work, and retry it on transient errors."""

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from application.ports import (
    AcknowledgementLostError,
    Storage,
    StorageOverloadedError,
    StorageSilentError,
    StorageUnavailableError,
    TransientError,
    UnitOfWork,
)

Observer = Callable[[TransientError], None]
"""Receives each error that is followed by a retry. It must not raise."""


def nobody(_: TransientError) -> None:
    """Ignore the error."""


_WAITED = (StorageOverloadedError, StorageSilentError)
"""Errors that are not retried: the attempt waited long, and other requests wait too."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The retry policy for transient errors. Times are in seconds.

    The delay before attempt n+1 is uniform between 0 and `shortest * 2**n`, at most `longest` ("full jitter": M.
    Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015). No attempt starts after `deadline`.
    """

    deadline: float = 8.0
    shortest: float = 0.005
    longest: float = 0.25
    observer: Observer = nobody

    def pause(self, attempt: int) -> float:
        """Return the delay after an attempt, which are numbered from 1."""
        most = min(self.longest, self.shortest * 2 ** min(attempt, 30))
        return random.uniform(0, most)  # noqa: S311 - not used for security


class UseCases(Protocol):
    """The attributes that the decorators use."""

    @property
    def storage(self) -> Storage:
        """Creates the units of work."""

    @property
    def retry(self) -> Retry:
        """The retry policy."""


S = TypeVar("S", bound=UseCases)
UseCase = Callable[Concatenate[S, UnitOfWork, P], Awaitable[T]]
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def transactional(use_case: UseCase[S, P, T]) -> Method[S, P, T]:
    """Run the method in a transaction, which is committed before the method returns.

    The decorator passes the unit of work as the first argument. The method may run several times, so its caller creates
    IDs and times. If the result of a commit is unknown, later attempts see it in `UnitOfWork.lost`. If none of them
    succeeds, the method raises AcknowledgementLostError or a different StorageUnavailableError: the write may be
    stored, so no error may claim otherwise.
    """
    return _repeated(use_case, lambda storage: storage.transaction())


def readonly(use_case: UseCase[S, P, T]) -> Method[S, P, T]:
    """Run the method in a read-only unit of work, with the retries of `transactional`."""
    return _repeated(use_case, lambda storage: storage.readonly())


def _repeated(
    use_case: UseCase[S, P, T], begin: Callable[[Storage], AbstractAsyncContextManager[UnitOfWork]]
) -> Method[S, P, T]:
    @functools.wraps(use_case)
    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        started = time.monotonic()
        attempt = lost = 0
        while True:
            attempt += 1
            try:
                async with begin(self.storage) as work:
                    work.lost = lost
                    return await use_case(self, work, *args, **kwargs)
            except TransientError as failure:
                lost += isinstance(failure, AcknowledgementLostError)
                pause = self.retry.pause(attempt)
                if isinstance(failure, _WAITED) or time.monotonic() + pause - started > self.retry.deadline:
                    if lost and not isinstance(failure, StorageUnavailableError):
                        raise AcknowledgementLostError from failure  # the failure would claim that no write was stored
                    raise
                self.retry.observer(failure)
            await asyncio.sleep(pause)

    return method
