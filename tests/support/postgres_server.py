"""The PostgreSQL server of the tests: embedded, in a container, or an existing one."""

import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import URL, make_url

from adapters.embedded import EmbeddedPostgres

IMAGE = "postgres:18"
AUTO = "auto"
EMBEDDED = "embedded"
CONTAINER = "container"

# Test data need not survive a power failure.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}


def describe(choice: str) -> list[str]:
    """Return the lines for the header of pytest: the server, and the reason against a container."""
    if choice == CONTAINER:
        return [f"postgres: a container of {IMAGE}"]
    if choice not in {AUTO, EMBEDDED}:
        return ["postgres: the server that --postgres names"]
    if choice == EMBEDDED:
        return ["postgres: the embedded server"]
    problem = docker_problem()
    return [
        "postgres: the embedded server",
        f"postgres: not in a container of {IMAGE}, because no Docker engine answers: {problem}"
        if problem
        else f"postgres: a Docker engine answers, so --postgres={CONTAINER} can run the same tests on {IMAGE}",
    ]


def docker_problem() -> str | None:
    """Return the reason that Docker is unusable, or None if it answers (Docker Engine API, "Ping")."""
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    place = urlsplit(address)
    try:
        with _connection(place.scheme, place.path, place.hostname or "", place.port or 2375) as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            response = connection.recv(64).split(b"\r\n")[0].decode(errors="replace")
    except OSError as error:
        return f"{address}: {error.strerror or error}"
    return None if " 200 " in response else f"{address}: {response}"


@contextmanager
def _connection(scheme: str, path: str, host: str, port: int) -> Iterator[socket.socket]:
    family, address = (socket.AF_UNIX, path) if scheme == "unix" else (socket.AF_INET, (host, port))
    with socket.socket(family) as connection:
        connection.settimeout(2)
        connection.connect(address)
        yield connection


@contextmanager
def running_server(choice: str, root: Path) -> Iterator[URL]:
    """Run the server during the block; yield the URL of an existing database."""
    if choice in {AUTO, EMBEDDED}:
        directory = root / ".hexapost" / "test-postgres"
        with EmbeddedPostgres(directory, settings=FAST, report=_ignore) as server:
            yield make_url(server.url("postgres"))
    elif choice == CONTAINER:
        containers = importlib.import_module("testcontainers.community.postgres")  # too slow for every run
        command = ["postgres", *[part for name, value in FAST.items() for part in ("-c", f"{name}={value}")]]
        with containers.PostgresContainer(IMAGE, driver=None).with_command(command) as container:
            yield make_url(container.get_connection_url())
    else:
        yield make_url(choice)


def _ignore(_line: str) -> None:
    """Ignore the line: the header of the run names the server."""
