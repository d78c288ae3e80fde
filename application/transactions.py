"""`@transactional` and `@readonly`: a use case as one unit of work, run again from the top on a transient failure."""

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
"""Is told of each failure that is followed by another attempt; it must not raise."""


def nobody(_: TransientError) -> None:
    """Be told, and do nothing."""


_WAITED = (StorageOverloadedError, StorageSilentError)
"""What has waited already, and others wait behind it: it is not tried again."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a unit of work that met a transient failure is tried again; times are in seconds.

    The pause before attempt n+1 is drawn evenly from 0 to `shortest * 2**n`, at most `longest` ("full jitter": M.
    Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015). No attempt starts after `deadline`.
    """

    deadline: float = 8.0
    shortest: float = 0.005
    longest: float = 0.25
    observer: Observer = nobody

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after the attempt with this number, counted from 1."""
        most = min(self.longest, self.shortest * 2 ** min(attempt, 30))
        return random.uniform(0, most)  # noqa: S311 - it spreads load and guards nothing


class UseCases(Protocol):
    """What the decorators need of the object whose methods they wrap."""

    @property
    def storage(self) -> Storage:
        """Where the units of work come from."""

    @property
    def retry(self) -> Retry:
        """How long and how often to try."""


S = TypeVar("S", bound=UseCases)
UseCase = Callable[Concatenate[S, UnitOfWork, P], Awaitable[T]]
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def transactional(use_case: UseCase[S, P, T]) -> Method[S, P, T]:
    """Run the method in a transaction of its own, which has ended when the method returns.

    The method takes the unit of work as its first argument; callers leave it out. It must be fit to run again from
    the top: ids and time are made by its caller. When the acknowledgement of an attempt was lost, the later ones are
    told so by `UnitOfWork.lost`, and when there is none that succeeds, AcknowledgementLostError or another
    StorageUnavailableError is raised, never a failure that says that nothing was done.
    """
    return _repeated(use_case, lambda storage: storage.transaction())


def readonly(use_case: UseCase[S, P, T]) -> Method[S, P, T]:
    """Run the method over a unit of work that only reads; otherwise as `transactional`."""
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
                        raise AcknowledgementLostError from failure  # it would say that nothing is done
                    raise
                self.retry.observer(failure)
            await asyncio.sleep(pause)

    return method
