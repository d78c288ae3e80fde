"""Shared parts of the measuring commands: databases, arguments, and an orderly shutdown."""

import argparse
import math
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from adapters.database_url import parse_database_url
from adapters.embedded import EmbeddedPostgres
from adapters.settings import DATABASE_URL
from adapters.testing.template_databases import Databases

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def benchmark_databases(name: str, report: Callable[[str], None]) -> Iterator[Databases]:
    """Yield databases on DATABASE_URL's server, or on an embedded one with that name. They are dropped at the end."""
    with ExitStack() as stack:
        given = os.environ.get(DATABASE_URL)
        if not given:
            given = stack.enter_context(EmbeddedPostgres(ROOT / ".hexapost" / name, report=report)).url()
        databases = Databases(parse_database_url(given), run=secrets.token_hex(4), worker="command")
        yield stack.enter_context(databases.opened())


def at_least(minimum: float) -> Callable[[str], float]:
    """Return a parser of finite numbers of the type of the minimum, for arguments of commands."""

    def parse(text: str) -> float:
        if not minimum <= (number := type(minimum)(text)) < math.inf:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}")
        return number

    return parse


def install_shutdown_handler() -> None:
    """Turn signals into exceptions, so that context managers stop child processes."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
