"""`hexapost serve`, and the command of its worker processes."""

import os
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from adapters.cli.arguments import Embedded
from adapters.cli.console import print_error
from adapters.observability.nonblocking_stream import make_streams_nonblocking

if TYPE_CHECKING:
    from sqlalchemy import URL

    from adapters.settings import Settings


def serve(
    *,
    host: Annotated[str | None, Option(help="Address to listen on, overrides HEXAPOST_HOST.")] = None,
    port: Annotated[str | None, Option(help="Port to listen on, overrides HEXAPOST_PORT.")] = None,
    workers: Annotated[str | None, Option(help="Number of worker processes, overrides HEXAPOST_WORKERS.")] = None,
    reload: Annotated[bool, Option("--reload", help="Restart after a change of a Python file (development).")] = False,
    migrate: Annotated[bool, Option("--migrate", help="Apply pending migrations first.")] = False,
    create_admin_key: Annotated[
        bool,
        Option(
            "--create-admin-key",
            help="With the embedded database, create an API key with all scopes in the state directory and print a "
            "sample request.",
        ),
    ] = False,
    exit_with_parent: Annotated[
        int | None, Option(metavar="PID", help="Stop when the parent process ends (Linux).")
    ] = None,
    embedded: Embedded = False,
) -> int:
    """Serve the API until SIGINT or SIGTERM."""
    from adapters.cli.database import environment_with, selected_database
    from adapters.cli.dev_admin_key import ensure_admin_key_header
    from adapters.cli.maintenance import apply_migrations
    from adapters.observability.logging import configure_logs
    from adapters.server.supervisor import supervise
    from adapters.server.uvicorn_server import bound_sockets, print_startup_hint, serve_in_process
    from adapters.server.worker_process import exit_with_parent as stop_with_parent
    from adapters.settings import load_settings

    overrides = {"host": host, "port": port, "workers": workers}
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    if reload and settings.workers > 1:
        raise BadParameter("serves in one process. Remove --workers and HEXAPOST_WORKERS.", param_hint="'--reload'")
    if exit_with_parent is not None:
        stop_with_parent(exit_with_parent)
    make_streams_nonblocking()
    configure_logs(level=settings.log_level, log_format=settings.log_format)
    with (
        bound_sockets(settings.host, settings.port) as sockets,
        selected_database(settings, embedded=embedded) as (_, url),
    ):
        if migrate:
            apply_migrations(url)
        if not _is_ready(settings, url):
            return 1
        header = ensure_admin_key_header(settings, url) if create_admin_key else None
        if reload:
            from adapters.server.reloader import serve_with_reload

            os.environ.update(environment_with(url))
            for listener in sockets:
                listener.listen()  # requests wait for the first process
            print_startup_hint(sockets, header)
            serve_with_reload(sockets)
            return 0
        if settings.workers > 1:
            return supervise(settings, sockets, environment_with(url), header)
        return serve_in_process(settings.model_copy(update={"database_url": url}), sockets, header)


def work(
    *,
    parent_pid: Annotated[int, Option()],
    control_fd: Annotated[int, Option()],
    listen_fd: Annotated[list[int], Option()],
) -> int:
    """Serve as a worker process. Only the supervisor runs this command."""
    from adapters.server.worker import serve_until_stopped
    from adapters.settings import load_settings

    return serve_until_stopped(load_settings(), parent_pid=parent_pid, control_fd=control_fd, listen_fds=listen_fd)


def _is_ready(settings: "Settings", url: "URL") -> bool:
    """Return False if the database is unreachable or its schema is older than this release."""
    import asyncio

    import structlog

    from adapters.cli.database import check_readiness
    from adapters.postgres.schema.readiness import SCHEMA_AHEAD

    components = asyncio.run(check_readiness(settings, url))
    for name, component in components.items():
        if not component[0]:
            print_error(f"cannot serve: {name}: {component[1]}")
        elif component == SCHEMA_AHEAD:
            structlog.get_logger("hexapost").warning("schema is newer than this release")
    return all(ready for ready, _ in components.values())
