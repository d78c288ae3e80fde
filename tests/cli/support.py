"""Functions and classes that run `hexapost serve` as a process, with a separate environment."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
from sqlalchemy import URL

from adapters.cli.database import open_service
from adapters.secret_files import key_peppers
from adapters.settings import load_settings
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import Scope

PATIENCE = 120.0
"""Seconds after which an expected event counts as missing."""
COMMAND = [sys.executable, "-m", "adapters.cli.main"]
ROOT = Path(__file__).parents[2]


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of the tests without Hexapost settings, and with these variables."""
    removed = ("HEXAPOST_", "DATABASE_URL", "PYTHONUNBUFFERED")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(removed)}
    return clean | {"PYTHONPATH": str(ROOT)} | variables


def rendered(url: URL) -> str:
    """Return the value of DATABASE_URL for a URL."""
    return url.render_as_string(hide_password=False)


def queried(url: URL, statement: str) -> list[Any]:
    """Run a statement and return the first column of its rows."""
    with psycopg.connect(rendered(url.set(drivername="postgresql")), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return [row[0] for row in cursor] if cursor.description else []


def terminate_waiting(admin: psycopg.Connection[Any]) -> int:
    """Terminate the connections that wait for a lock on users, and return their number.

    A request notices the end of its own connection for certain. The pool may notice the end of an idle one first.
    """
    return admin.execute(
        "SELECT pg_terminate_backend(locks.pid) FROM pg_locks AS locks JOIN pg_stat_activity USING (pid) "
        "WHERE NOT granted AND relation = 'users'::regclass AND datname = current_database()"
    ).rowcount


def create_api_key(directory: Path, **variables: str) -> str:
    """Create an API key with all scopes, as `hexapost keys create` in this directory and environment does."""
    with mock.patch.dict(os.environ, environment(**variables), clear=True):
        settings = load_settings()
    settings = settings.model_copy(update={"state_directory": directory / settings.state_directory})
    url = settings.database_url
    assert url is not None

    async def create() -> str:
        async with open_service(settings, url, peppers=key_peppers(settings), skip_readiness_check=True) as container:
            return (await container.api_keys().create(SYSTEM_PRINCIPAL, name="test", scopes=Scope)).text

    with ThreadPoolExecutor(1) as thread:  # an event loop may run in the thread of the test
        return thread.submit(asyncio.run, create()).result()


class Served:
    """A running `hexapost serve`."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        """The standard output, with standard error unless that goes elsewhere."""
        return self._output.read_text()

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """Return the JSON log lines, or those with this event."""
        lines = [json.loads(line) for line in self.output.splitlines() if re.fullmatch(r"{.*}", line)]
        return [line for line in lines if event in {"", line["event"]}]

    def base_url(self) -> str:
        """Wait until the service listens, and return its address."""
        wait_until(lambda: "documentation at" in self.output or self.process.poll() is not None)
        found = re.search(r"documentation at (\S+)/docs", self.output)
        assert found, self.output
        return found[1]

    def address(self) -> tuple[str, int]:
        """Wait until the service listens, and return its host and port."""
        host, port = self.base_url().removeprefix("http://").split(":")
        return host, int(port)

    def get(self, path: str, *, method: str = "GET", body: bytes | None = None, key: str = "") -> HTTPResponse:
        """Send a request and return a response with a 2xx status. Raises HTTPError for other statuses."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.base_url() + path,
            method=method,
            data=body,
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
        )
        response: HTTPResponse = urllib.request.urlopen(request, timeout=PATIENCE)  # noqa: S310 - our own server
        return response

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def serving(directory: Path, *arguments: str, **variables: str) -> AbstractContextManager[Served]:
    """Run `hexapost serve` on a free port, and kill it at the end of the block."""
    return serving_with_stderr(subprocess.STDOUT, directory, *arguments, **variables)


@contextmanager
def serving_with_stderr(stderr: int, directory: Path, *arguments: str, **variables: str) -> Iterator[Served]:
    """Do the same as `serving`, with this descriptor as standard error."""
    output = directory / "output"
    with output.open("w") as file:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, "serve", "--port", "0", *arguments],
            cwd=directory,
            env=environment(**variables),
            stdout=file,
            stderr=stderr,
            text=True,
        )
    try:
        yield Served(process, output)
    finally:
        process.kill()
        process.wait(PATIENCE)


@contextmanager
def blocked_pipe() -> Iterator[tuple[int, int]]:
    """Yield the reader and the writer of a pipe that is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n")
    os.set_blocking(writer, True)
    yield reader, writer
    for descriptor in (reader, writer):
        with suppress(OSError):  # the test may have closed it
            os.close(descriptor)


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait until the condition is true. Raises AssertionError after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)
