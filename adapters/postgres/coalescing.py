"""Request coalescing: concurrent callers of the same statement share one round trip.

The pattern is known as DataLoader (https://github.com/graphql/dataloader). A caller joins a batch only before the batch
is sent, so a read never returns data from before its request. Each caller keeps its result, error, time limit and
cancellation: if a batch of several callers fails, each of them executes the statement by itself.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ClauseElement

from adapters.deadline_timer import DeadlineTimer
from adapters.postgres.drivers import Row
from adapters.postgres.slots import Slots
from application.ports import CommitResultUnknownError, StorageBusyError, StorageTimeoutError, StorageUnavailableError

if TYPE_CHECKING:
    from adapters.postgres.session import PgSession

MAX_BATCH_SIZE = 32
MAX_BATCHES = 4
"""Of one statement, at the same time. Further callers wait and form the next batch."""

Parameters = Mapping[str, Any]
OpenSession = Callable[[], "PgSession"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoalescedStatement:
    """A statement for one caller, and a statement with the same effect for several callers.

    The parameters of `many` are arrays. The parameter `key` identifies the row of a caller, by the column `key_index`
    of the row. If `many` writes no row for a caller, that caller executes `one`, which can wait for locks.
    """

    one: ClauseElement
    many: ClauseElement
    key: str
    key_index: int = 0
    is_write: bool = False


class _Caller:
    """A caller that waits for its rows. The result None means that it must execute the statement by itself."""

    def __init__(self, parameters: Parameters, due: float) -> None:
        loop = asyncio.get_running_loop()
        self.parameters = parameters
        self.due = due
        self.requested_at = loop.time()
        self.context = copy_context()
        self.result: asyncio.Future[Sequence[Row] | None] = loop.create_future()
        self.batch: Sequence[_Caller] = ()
        """The callers of the batch that was sent, empty before."""
        self.task: asyncio.Task[None] | None = None
        """The task that sent the batch."""

    def finish(self, result: Sequence[Row] | Exception | None) -> None:
        """Set the result or the error, unless the caller has one or is cancelled."""
        if self.result.done():
            return
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)


class Coalescer:
    """Executes coalesced statements in sessions of their own. `pool_timeout` is in seconds."""

    def __init__(self, open_session: OpenSession, deadlines: DeadlineTimer, *, pool_timeout: float) -> None:
        self._queue_of = cache(partial(_Queue, open_session, deadlines, pool_timeout))

    async def execute(self, statement: CoalescedStatement, parameters: Parameters, due: float) -> Sequence[Row] | None:
        """Return the rows of one caller, None if the caller must execute the statement by itself.

        `due` is the event-loop time at which the attempt of the caller ends.
        """
        return await self._queue_of(statement).execute(_Caller(parameters, due))


class _Queue:
    """The callers that wait for the next batch of one statement, and the task that sends it."""

    def __init__(
        self, open_session: OpenSession, deadlines: DeadlineTimer, pool_timeout: float, statement: CoalescedStatement
    ) -> None:
        self._open_session = open_session
        self._pool_timeout = pool_timeout
        self._statement = statement
        self._slots = Slots(MAX_BATCHES, deadlines)
        self._waiting: list[_Caller] = []
        self._task: asyncio.Task[None] | None = None

    async def execute(self, caller: _Caller) -> Sequence[Row] | None:
        """Return the rows of the caller, None if it must execute the statement by itself."""
        self._waiting.append(caller)
        if self._task is None or self._task.done():  # done: the event loop has cancelled all tasks
            self._start_next()
        try:
            return await caller.result
        except asyncio.CancelledError:
            self._remove(caller)
            raise

    def _start_next(self) -> None:
        # In the context of the first caller, whose trace then contains the statement.
        self._task = None
        if self._waiting:
            self._task = asyncio.create_task(self._run(), context=self._waiting[0].context)

    def _remove(self, caller: _Caller) -> None:
        """Remove a cancelled caller, and cancel a task without callers."""
        if not caller.result.cancelled():
            caller.result.exception()  # mark it as received
        if caller in self._waiting:
            self._waiting.remove(caller)
            if self._task is not None and not self._waiting:
                self._task.cancel()
                self._task = None
        elif caller.task is not None and all(member.result.done() for member in caller.batch):
            caller.task.cancel()

    async def _run(self) -> None:
        """Send one batch as soon as a connection is free."""
        try:
            await self._slots.acquire(self._max_wait())
        except TimeoutError:
            self._reject_waiting(StorageBusyError())
            return
        session = self._open_session()
        try:
            try:
                await session.connect(self._waiting[0].due, self._max_wait())
            except Exception as error:  # noqa: BLE001 - the callers raise it
                self._reject_waiting(error)
            else:
                await self._send(session)
        finally:
            self._slots.release()
            await session.end(commit=False)

    def _max_wait(self) -> float:
        """Return the seconds that the first caller may still wait. Later callers have waited for a part of them."""
        return self._waiting[0].requested_at + self._pool_timeout - asyncio.get_running_loop().time()

    def _reject_waiting(self, error: Exception) -> None:
        """Raise the error of a connection that was not opened, in all callers that it concerns."""
        now = asyncio.get_running_loop().time()
        callers, self._waiting = self._waiting, []
        for caller in callers:
            if isinstance(error, StorageBusyError) and now - caller.requested_at < self._pool_timeout:
                self._waiting.append(caller)
            elif isinstance(error, StorageBusyError | StorageUnavailableError):
                caller.finish(type(error)(*error.args))
            else:
                caller.finish(error if len(callers) == 1 else None)
        self._start_next()

    async def _send(self, session: "PgSession") -> None:
        statement = self._statement
        waiting = [caller for caller in self._waiting if not caller.result.cancelled()]
        callers, self._waiting = waiting[:MAX_BATCH_SIZE], waiting[MAX_BATCH_SIZE:]
        for caller in callers:
            caller.batch, caller.task = callers, self._task
        self._start_next()
        try:
            if not callers:
                return
            if len(callers) == 1:
                parameters = callers[0].parameters
                callers[0].finish(await session.execute(statement.one, parameters, is_commit=statement.is_write))
                return
            arrays = {name: [caller.parameters[name] for caller in callers] for name in callers[0].parameters}
            rows = await session.execute(statement.many, arrays, is_commit=statement.is_write)
            by_key = {row[statement.key_index]: [row] for row in rows}
            for caller in callers:
                caller.finish(by_key.get(caller.parameters[statement.key], None if statement.is_write else []))
        except Exception as error:  # noqa: BLE001 - the callers raise it
            now = asyncio.get_running_loop().time()
            for caller in callers:
                caller.finish(error if len(callers) == 1 else self._error_of(caller, error, now))
        finally:
            for caller in callers:
                caller.finish(None)  # the task was cancelled
                caller.batch, caller.task = (), None  # otherwise only a garbage collection could free them

    def _error_of(self, caller: _Caller, error: Exception, now: float) -> Exception | None:
        """Return the error of one of several callers, None if it must execute the statement by itself."""
        if isinstance(error, StorageBusyError):  # the statement of each caller took too long
            return StorageBusyError()
        if isinstance(error, StorageTimeoutError) and caller.due <= now:
            return StorageTimeoutError()
        if self._statement.is_write and isinstance(error, CommitResultUnknownError | StorageTimeoutError):
            unknown = CommitResultUnknownError()
            unknown.lost_connection = error.lost_connection
            return unknown
        return None
