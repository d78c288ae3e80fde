"""`hexapost serve`: one process that serves the API until it is told to stop."""

import argparse
import asyncio
import ctypes
import os
import signal
import socket
import sys
from importlib.metadata import version

import structlog
import uvicorn
from sqlalchemy import URL

from adapters.cli.admin_key import admin_header
from adapters.cli.check import look
from adapters.cli.databases import with_database
from adapters.cli.migrate import migrate
from adapters.cli.output import complain, report
from adapters.cli.secrets import cursor_secret, key_peppers
from adapters.container import Container
from adapters.settings import Settings
from adapters.telemetry.logs import configure_logs

DRAIN_SECONDS = 10
PR_SET_PDEATHSIG = 1  # prctl(2)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; what was started is stopped then."""
    if options.with_parent is not None:
        stop_with_parent(options.with_parent)
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    with with_database(settings, embedded=options.embedded) as url:
        if options.migrate:
            migrate(url)
        if not _is_ready(url, settings):
            return 1
        header = admin_header(settings, url) if options.admin_key else None
        return _serve(settings.model_copy(update={"database_url": url}), header)


def stop_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent, the process that started this one, ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the kernel knew
            raise SystemExit(128 + signal.SIGTERM)


def _is_ready(url: URL, settings: Settings) -> bool:
    """Refuse to serve on a database that is not there, or behind this release. One ahead of it is served."""
    components = asyncio.run(look(url, settings))
    for name, (ready, detail) in components.items():
        if not ready:
            complain(f"cannot serve: {name} {detail}")
        elif "ahead" in detail:
            structlog.get_logger("hexapost").warning("schema is ahead of this release")
    return all(ready for ready, _ in components.values())


def _serve(settings: Settings, header: str | None) -> int:
    container = Container(
        settings=settings,
        cursor_secret=cursor_secret(settings),
        peppers=key_peppers(settings),
        version=version("hexapost"),
    )
    config = uvicorn.Config(
        container.app(),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=container.protocol(),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nothing here asks where a client is
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = AnnouncingServer(config, header)
    try:
        server.run()
    except (KeyboardInterrupt, SystemExit):
        # The server has stopped in order and raises again the signal that asked it to, or it could not start.
        return 0 if server.started and server.should_exit else 1
    return 0 if server.started else 1


class AnnouncingServer(uvicorn.Server):
    """A server that says where it is as soon as it takes requests, and what to try with this header."""

    def __init__(self, config: uvicorn.Config, header: str | None) -> None:
        super().__init__(config)
        self._header = header

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell where the documentation is and what to try."""
        await super().startup(sockets=sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            report(f"serving; documentation at {base}/docs")
            if self._header is not None:
                user = '{"email": "ada@example.org", "full_name": "Ada Lovelace"}'
                said = f"-H {self._header} -H 'Content-Type: application/json' -d '{user}'"
                report(f"try: curl {base}/api/v1/users {said}")
