"""`hexapost serve`: serves the API in one or several processes."""

import argparse
import asyncio
from collections.abc import Mapping

import structlog
from sqlalchemy import URL

from adapters.cli.console import make_streams_nonblocking, print_error
from adapters.cli.database import environment_with, selected_database
from adapters.cli.dev_admin_key import ensure_admin_key_header
from adapters.cli.maintenance import check_readiness
from adapters.cli.migrate import apply_migrations
from adapters.cli.secret_files import cursor_secret, key_peppers
from adapters.observability.logging import configure_logs
from adapters.observability.metrics import temporary_multiproc_dir
from adapters.postgres.schema.readiness import SCHEMA_AHEAD
from adapters.server.supervisor import Supervisor
from adapters.server.uvicorn_server import Server, create_server, print_startup_hint
from adapters.server.worker_process import Worker, create_listen_sockets, exit_with_parent
from adapters.settings import Settings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then stop all child processes."""
    if options.exit_with_parent is not None:
        exit_with_parent(options.exit_with_parent)
    make_streams_nonblocking()
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    with selected_database(settings, embedded=options.embedded) as url:
        if options.migrate:
            apply_migrations(url)
        if not _is_ready(url, settings):
            return 1
        header = ensure_admin_key_header(settings, url) if options.create_admin_key else None
        return _serve(settings, url, header)


def _is_ready(url: URL, settings: Settings) -> bool:
    """Return False if the database is unreachable or its schema is older than this release."""
    components = asyncio.run(check_readiness(url, settings))
    for name, (ready, detail) in components.items():
        if not ready:
            print_error(f"cannot serve: {name}: {detail}")
        elif (ready, detail) == SCHEMA_AHEAD:
            structlog.get_logger("hexapost").warning("schema is newer than this release")
    return all(ready for ready, _ in components.values())


def _serve(settings: Settings, url: URL, header: str | None) -> int:
    if settings.workers > 1:
        return _supervise(settings, url, header)

    async def on_started(server: Server) -> None:
        print_startup_hint(server.address, header)

    return create_server(settings.model_copy(update={"database_url": url}), on_started).serve_until_signal()


def _supervise(settings: Settings, url: URL, header: str | None) -> int:
    # Create the secrets before several workers need them.
    cursor_secret(settings)
    key_peppers(settings)
    sockets = create_listen_sockets(settings.host, settings.port)
    host, port = sockets[0].getsockname()[:2]

    async def supervise(variables: Mapping[str, str]) -> int:
        supervisor = Supervisor(settings.workers, lambda: Worker.start(sockets, variables), sockets)
        return await supervisor.run(lambda: print_startup_hint((host, port), header))

    with temporary_multiproc_dir() as shared:
        return asyncio.run(supervise({**environment_with(url), **shared}))
