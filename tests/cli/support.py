"""Running `hexapost serve` as an operator does: as a process, with an environment of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

from domain.keys import Scope

PATIENCE = 60.0
"""Seconds after which something that should happen is taken not to happen."""
COMMAND = [sys.executable, "-m", "adapters.cli.main"]
ROOT = Path(__file__).parents[2]


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of these tests without settings, ours and Python's, and with these variables."""
    others = ("HEXAPOST_", "DATABASE_URL", "PYTHONUNBUFFERED")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return clean | {"PYTHONPATH": str(ROOT)} | variables


def rendered(url: URL) -> str:
    """Return the URL as DATABASE_URL takes it."""
    return url.render_as_string(hide_password=False)


def queried(url: URL, statement: str) -> list[Any]:
    """Return the first column of what a statement returns."""
    with psycopg.connect(rendered(url.set(drivername="postgresql")), autocommit=True) as connection:
        return [row[0] for row in connection.execute(statement.encode())]


def a_key(directory: Path, *arguments: str, **variables: str) -> str:
    """Return a new key that may do everything."""
    scopes = [word for scope in Scope for word in ("--scope", scope)]
    made = subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, "keys", "create", "--name", "test", *scopes, *arguments],
        cwd=directory,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return made.stdout.strip()


class Served:
    """A `hexapost serve` that runs."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text()

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """Return the lines of its log, or those with this event."""
        lines = [json.loads(line) for line in self.output.splitlines() if re.fullmatch(r"{.*}", line)]
        return [line for line in lines if event in {"", line["event"]}]

    def base_url(self) -> str:
        """Wait until it says where it serves."""
        wait_until(lambda: "documentation at" in self.output or self.process.poll() is not None)
        found = re.search(r"documentation at (\S+)/docs", self.output)
        assert found, self.output
        return found[1]

    def get(self, path: str, *, method: str = "GET", body: bytes | None = None, key: str = "") -> HTTPResponse:
        """Send a request and return a response of 2xx."""
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
    """Run `hexapost serve` on a free port; it is killed at the end if it is still there."""
    return _serving(directory, arguments, variables, subprocess.STDOUT)


@contextmanager
def serving_unheard(directory: Path, *arguments: str, **variables: str) -> Iterator[Served]:
    """Run it so that nobody reads its standard error any more as soon as it serves."""
    reader, writer = os.pipe()
    with _serving(directory, arguments, variables, writer) as served:
        os.close(writer)
        served.base_url()
        os.close(reader)
        yield served


@contextmanager
def serving_unread(directory: Path, *arguments: str, **variables: str) -> Iterator[tuple[Served, int]]:
    """Run it with a standard error that is full, and that nobody reads but who reads the descriptor."""
    reader, writer = os.pipe()
    fill(writer)
    try:
        with _serving(directory, arguments, variables, writer) as served:
            os.close(writer)
            yield served, reader
    finally:
        os.close(reader)


def fill(writer: int) -> None:
    """Write line breaks to a pipe until it takes no more."""
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n")
    os.set_blocking(writer, True)


@contextmanager
def _serving(directory: Path, arguments: Sequence[str], variables: Mapping[str, str], stderr: int) -> Iterator[Served]:
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


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
