"""`hexapost serve`: serves the API in one or several processes."""

import argparse
import asyncio
import os
from collections.abc import Mapping

import structlog
from sqlalchemy import URL

from adapters.cli.admin_key import admin_header
from adapters.cli.check import look
from adapters.cli.databases import with_database
from adapters.cli.migrate import migrate
from adapters.cli.output import complain, never_wait
from adapters.cli.secrets import cursor_secret, key_peppers
from adapters.cli.serving.processes import Worker, listening, stop_with_parent
from adapters.cli.serving.server import Server, announce, made_server
from adapters.cli.serving.supervisor import Supervisor
from adapters.postgres.schema.readiness import SCHEMA_AHEAD
from adapters.settings import DATABASE_URL, Settings
from adapters.telemetry.logs import configure_logs
from adapters.telemetry.metrics import shared_figures


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then stop all child processes."""
    if options.with_parent is not None:
        stop_with_parent(options.with_parent)
    never_wait()
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    with with_database(settings, embedded=options.embedded) as url:
        if options.migrate:
            migrate(url)
        if not _is_ready(url, settings):
            return 1
        header = admin_header(settings, url) if options.admin_key else None
        return _serve(settings, url, header)


def _is_ready(url: URL, settings: Settings) -> bool:
    """Return False if the database is unreachable or its schema is older than this release."""
    components = asyncio.run(look(url, settings))
    for name, (ready, detail) in components.items():
        if not ready:
            complain(f"cannot serve: {name}: {detail}")
        elif (ready, detail) == SCHEMA_AHEAD:
            structlog.get_logger("hexapost").warning("schema is newer than this release")
    return all(ready for ready, _ in components.values())


def _serve(settings: Settings, url: URL, header: str | None) -> int:
    if settings.workers > 1:
        return _supervise(settings, url, header)

    async def when_started(server: Server) -> None:
        announce(server.address, header)

    return made_server(settings.model_copy(update={"database_url": url}), when_started).serve_until_told()


def _supervise(settings: Settings, url: URL, header: str | None) -> int:
    environment = os.environ | {DATABASE_URL: url.render_as_string(hide_password=False)}
    cursor_secret(settings), key_peppers(settings)  # created before several workers need them
    sockets = listening(settings.host, settings.port)
    host, port = sockets[0].getsockname()[:2]

    async def supervise(variables: Mapping[str, str]) -> int:
        supervisor = Supervisor(settings.workers, lambda: Worker.started(sockets, variables), sockets)
        return await supervisor.run(lambda: announce((host, port), header))

    with shared_figures() as shared:
        return asyncio.run(supervise({**environment, **shared}))
