"""`hexapost worker`: a worker process of `hexapost serve --workers N`. Only the supervisor starts it."""

import argparse
import asyncio
import signal
import socket

from adapters.cli.output import never_wait
from adapters.cli.serving.processes import stop_with_parent
from adapters.cli.serving.server import Server, made_server
from adapters.settings import Settings
from adapters.telemetry.logs import configure_logs

READY = b"ready\n"
LOOK_SECONDS = 0.05


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Serve on inherited sockets until the supervisor stops this process or ends."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal sends it to all processes; only the supervisor handles it
    stop_with_parent(options.parent)
    never_wait()
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    line = socket.socket(fileno=options.line)

    async def when_started(server: Server) -> None:
        _end_with(line, server)
        server.telling = asyncio.create_task(_tell(line, server))

    server = made_server(settings, when_started)
    return server.serve_until_told([socket.socket(fileno=number) for number in options.listen])


def _end_with(line: socket.socket, server: Server) -> None:
    """Stop the server when the supervisor closes its end of the control pipe, also by ending."""
    loop = asyncio.get_running_loop()

    def hung_up() -> None:
        loop.remove_reader(line)
        server.should_exit = True

    line.setblocking(False)
    loop.add_reader(line, hung_up)


async def _tell(line: socket.socket, server: Server) -> None:
    while not server.container.readiness().is_ready:  # noqa: ASYNC110 - readiness has no event
        await asyncio.sleep(LOOK_SECONDS)
    line.send(READY)
