"""`hexapost with-database`."""

import argparse
import os
import subprocess

from adapters.cli.databases import with_database
from adapters.cli.errors import MisusedError
from adapters.settings import DATABASE_URL, Settings


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run a command of the user's with DATABASE_URL set; return its exit status."""
    words = options.words[options.words[:1] == ["--"] :]
    if not words:
        raise MisusedError("with-database: name the command to run")
    with with_database(settings, embedded=options.embedded) as url:
        environment = os.environ | {DATABASE_URL: url.render_as_string(hide_password=False)}
        return subprocess.run(words, env=environment, check=False).returncode  # noqa: S603 - the user's own
