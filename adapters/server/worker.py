"""`hexapost worker`: a worker process of `hexapost serve --workers N`. Only the supervisor starts it."""

import asyncio
import signal
import socket
from collections.abc import Sequence

from adapters.observability.logging import configure_logs
from adapters.observability.nonblocking_stream import make_streams_nonblocking
from adapters.server.uvicorn_server import Server, create_server
from adapters.server.worker_process import exit_with_parent
from adapters.settings import Settings

READY = b"ready\n"
POLL_INTERVAL_SECONDS = 0.05


def serve_until_stopped(settings: Settings, *, parent_pid: int, control_fd: int, listen_fds: Sequence[int]) -> int:
    """Serve on inherited sockets until the supervisor stops this process or ends."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal sends it to all processes; only the supervisor handles it
    exit_with_parent(parent_pid)
    make_streams_nonblocking()
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    control_pipe = socket.socket(fileno=control_fd)

    async def on_started(server: Server) -> None:
        _stop_with_supervisor(control_pipe, server)
        server.background_task = asyncio.create_task(_signal_ready(control_pipe, server))

    server = create_server(settings, on_started)
    return server.serve_until_signal([socket.socket(fileno=number) for number in listen_fds])


def _stop_with_supervisor(control_pipe: socket.socket, server: Server) -> None:
    """Stop the server when the supervisor closes its end of the control pipe, also by ending."""
    loop = asyncio.get_running_loop()

    def on_disconnect() -> None:
        loop.remove_reader(control_pipe)
        server.should_exit = True

    control_pipe.setblocking(False)
    loop.add_reader(control_pipe, on_disconnect)


async def _signal_ready(control_pipe: socket.socket, server: Server) -> None:
    while not server.container.readiness().is_ready:  # noqa: ASYNC110 - readiness has no event
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
    control_pipe.send(READY)
