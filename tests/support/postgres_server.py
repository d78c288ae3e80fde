"""The PostgreSQL server of the tests: embedded, in a container, or an existing one."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, make_url

from adapters.testing.template_databases import FAST, embedded_server

IMAGE = "postgres:18"
EMBEDDED = "embedded"
CONTAINER = "container"


@contextmanager
def running_server(choice: str, root: Path) -> Iterator[URL]:
    """Run the server during the block; yield the URL of an existing database."""
    if choice == EMBEDDED:
        with embedded_server(root) as url:
            yield url
    elif choice == CONTAINER:
        containers = importlib.import_module("testcontainers.community.postgres")  # too slow for every run
        command = ["postgres", *[part for name, value in FAST.items() for part in ("-c", f"{name}={value}")]]
        with containers.PostgresContainer(IMAGE, driver=None).with_command(command) as container:
            yield make_url(container.get_connection_url())
    else:
        yield make_url(choice)
