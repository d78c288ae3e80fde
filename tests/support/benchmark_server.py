"""Shared parts of the measuring commands: a server, and an orderly shutdown."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from adapters.embedded import EmbeddedPostgres
from adapters.settings import DATABASE_URL, parse_database_url

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def benchmark_server(name: str, report: Callable[[str], None]) -> Iterator[URL]:
    """Yield the URL of a database on DATABASE_URL's server, or on an embedded one with that name, as users have it."""
    if given := os.environ.get(DATABASE_URL):
        yield parse_database_url(given)
        return
    with EmbeddedPostgres(ROOT / ".hexapost" / name, report=report) as server:
        yield parse_database_url(server.url())


def install_shutdown_handler() -> None:
    """Turn signals into exceptions, so that context managers stop child processes."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
