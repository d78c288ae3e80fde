"""Selects the database of a command: DATABASE_URL or the embedded one. Runs `hexapost with-database`."""

import argparse
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from sqlalchemy import URL, make_url

from adapters.cli.arguments import UsageError
from adapters.cli.console import print_error, print_status
from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError
from adapters.settings import DATABASE_URL, EXAMPLE_URL, FILE_SUFFIX, Settings, SettingsError

CHECK_INTERVAL_SECONDS = 1.0


class DatabaseNotReadyError(Exception):
    """The database is not ready for this release."""


@contextmanager
def selected_database(
    settings: Settings, *, embedded: bool, report: Callable[[str], None] = print_status
) -> Iterator[URL]:
    """Yield the URL of the database. An embedded one runs until the block ends. `report` gets a line for each step.

    Raises SettingsError without DATABASE_URL and --embedded, and EmbeddedPostgresError if the start fails.
    """
    if settings.database_url is not None:
        report(f"using the database of {DATABASE_URL} at {settings.database_url.host or 'a local socket'}")
        yield settings.database_url
    elif embedded:
        with EmbeddedPostgres(settings.state_directory / "postgres", report=report) as server, _keep_running(server):
            yield make_url(server.url())
    else:
        raise SettingsError(
            [f"{DATABASE_URL} is not set. Example: {EXAMPLE_URL}. Or pass --embedded to start a local PostgreSQL."]
        )


def environment_with(url: URL) -> dict[str, str]:
    """Return the environment with this URL of the database, for a child process."""
    # The empty variable overrides one in `.env`.
    return os.environ | {DATABASE_URL: url.render_as_string(hide_password=False), DATABASE_URL + FILE_SUFFIX: ""}


@contextmanager
def _keep_running(server: EmbeddedPostgres) -> Iterator[None]:
    """Restart the server if its daemon is killed during the block. If that fails, end this process with SIGTERM."""
    stopped = Event()

    def restart_loop() -> None:
        while not stopped.wait(CHECK_INTERVAL_SECONDS):
            try:
                server.ensure_running()
            except (EmbeddedPostgresError, OSError) as error:
                print_error(f"stopping, because the embedded PostgreSQL cannot be restarted: {error}")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = Thread(target=restart_loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def run_command(settings: Settings, options: argparse.Namespace) -> int:
    """Run a command with DATABASE_URL set, and return its exit status."""
    command = options.command[options.command[:1] == ["--"] :]
    if not command:
        raise UsageError("usage: hexapost with-database [--embedded] -- COMMAND [ARG ...]")
    with selected_database(settings, embedded=options.embedded) as url:
        return subprocess.run(command, env=environment_with(url), check=False).returncode  # noqa: S603 - the command of the user
