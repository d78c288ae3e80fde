"""`hexapost with-database`: runs a command with DATABASE_URL set."""

import argparse
import os
import subprocess

from adapters.cli.database_selection import selected_database
from adapters.cli.errors import UsageError
from adapters.settings import DATABASE_URL, Settings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run a command with DATABASE_URL set, and return its exit status."""
    command = options.command[options.command[:1] == ["--"] :]
    if not command:
        raise UsageError("usage: hexapost with-database [--embedded] -- COMMAND [ARG ...]")
    with selected_database(settings, embedded=options.embedded) as url:
        environment = os.environ | {DATABASE_URL: url.render_as_string(hide_password=False)}
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - the command of the user
