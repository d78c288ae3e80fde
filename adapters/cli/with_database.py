"""`hexapost with-database`: runs a command with DATABASE_URL set."""

import argparse
import os
import subprocess

from adapters.cli.databases import with_database
from adapters.cli.errors import MisusedError
from adapters.settings import DATABASE_URL, Settings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run a command with DATABASE_URL set, and return its exit status."""
    words = options.words[options.words[:1] == ["--"] :]
    if not words:
        raise MisusedError("usage: hexapost with-database [--embedded] -- COMMAND [ARG ...]")
    with with_database(settings, embedded=options.embedded) as url:
        environment = os.environ | {DATABASE_URL: url.render_as_string(hide_password=False)}
        return subprocess.run(words, env=environment, check=False).returncode  # noqa: S603 - the command of the user
