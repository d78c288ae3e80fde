"""Worker processes, which inherit the listening sockets and report when they are ready."""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

from adapters.server.uvicorn_server import DRAIN_TIMEOUT_SECONDS

PR_SET_PDEATHSIG = 1  # prctl(2)
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = DRAIN_TIMEOUT_SECONDS + 5.0
KILL_TIMEOUT_SECONDS = 5.0


class Worker:
    """A worker process."""

    def __init__(self, process: Process, control_pipe: socket.socket) -> None:
        self._process = process
        self._control_pipe = control_pipe
        self.exited = asyncio.create_task(self._wait())
        """Done when the process has ended."""

    @classmethod
    async def start(cls, sockets: Sequence[socket.socket], environment: Mapping[str, str]) -> "Worker":
        """Start a worker, which is not ready yet. It ends when this process closes the control pipe or ends."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            numbers = [listener.fileno() for listener in sockets]
            arguments = ["worker", "--parent-pid", str(os.getpid()), "--control-fd", str(theirs.fileno())]
            arguments += [argument for number in numbers for argument in ("--listen-fd", str(number))]
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "adapters.cli.main", *arguments),
                    pass_fds=[*numbers, theirs.fileno()],
                    env=dict(environment),
                )
            except BaseException:
                ours.close()
                raise
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, None while the process runs."""
        return self._process.returncode

    async def wait_until_ready(self) -> bool:
        """Wait until the worker is ready. Return False if it ends or needs too long."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                return bool(await asyncio.get_running_loop().sock_recv(self._control_pipe, 16))
        return False

    async def stop(self) -> None:
        """Let the worker drain, and wait until it has ended. Kill it after a time limit."""
        self._send(signal.SIGTERM)
        self._send(signal.SIGCONT)  # a process that was stopped by SIGSTOP would not drain
        await asyncio.wait([self.exited], timeout=STOP_TIMEOUT_SECONDS)
        self._send(signal.SIGKILL)
        await asyncio.wait([self.exited], timeout=KILL_TIMEOUT_SECONDS)

    def _send(self, number: signal.Signals) -> None:
        # Process.send_signal would collect the exit status, which the event loop needs.
        with suppress(ProcessLookupError):
            if not self.exited.done():
                os.kill(self.pid, number)

    async def _wait(self) -> None:
        try:
            await self._process.wait()
        finally:
            self._control_pipe.close()


def exit_with_parent(parent: int) -> None:
    """Request SIGTERM from the kernel when the parent process ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the request
            raise SystemExit(128 + signal.SIGTERM)
