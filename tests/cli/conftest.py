"""Fixtures for the tests of the command line."""

import gc
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import URL

from adapters.cli.main import main
from adapters.testing.template_databases import Databases
from tests.cli.support import queried, rendered
from tests.migrations.revision_fixtures import Revisions


@dataclass(frozen=True)
class Outcome:
    """The output and the exit status of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class Hexapost(Protocol):
    def __call__(self, *arguments: str, **variables: str) -> Outcome: ...


@pytest.fixture(scope="session")
def cli_database(databases: Databases) -> Iterator[URL]:
    """The database of `database`."""
    url = databases.clone().set(drivername="postgresql+asyncpg")
    yield url
    databases.drop(url)


@pytest.fixture
def database(cli_database: URL) -> URL:
    """An empty database with the schema, for tests that change only rows."""
    queried(cli_database, "DELETE FROM users")
    queried(cli_database, "DELETE FROM api_keys")
    queried(cli_database, "DELETE FROM audit_entries")
    queried(cli_database, "DELETE FROM erasure_receipts")
    return cli_database


@pytest.fixture
def hexapost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    restored_logs: None,  # noqa: ARG001 - the command configures the log
) -> Iterator[Hexapost]:
    """A function that runs the command in this process, with only the given settings."""
    for name in os.environ:
        if name.startswith(("HEXAPOST_", "DATABASE_URL")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **variables: str) -> Outcome:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            try:
                status = main(arguments)
            except SystemExit as error:  # from the argument parser
                status = int(error.code or 0)
        printed = capfd.readouterr()
        return Outcome(status, printed.out, printed.err)

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def restored_garbage_collector() -> Iterator[None]:
    """Restore the settings of the garbage collector, which the start of a server changes."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


CREATE = ("create", "--name", "K", "--scope", "users:read")


def stored_keys(url: URL, column: str = "id") -> list[Any]:
    """Return a column of the stored API keys, in the order of their IDs."""
    return queried(url, f"SELECT {column} FROM api_keys ORDER BY id")  # noqa: S608 - a column of the tests


class Keys:
    """Runs `hexapost keys` on one database."""

    def __init__(self, hexapost: Hexapost, url: URL) -> None:
        self.url = url
        self._hexapost = hexapost

    def __call__(self, *arguments: str, **variables: str) -> Outcome:
        return self._hexapost("keys", *arguments, DATABASE_URL=rendered(self.url), **variables)

    def created(self, *arguments: str, **variables: str) -> str:
        """Create a key and return its text."""
        outcome = self(*(arguments or CREATE), **variables)
        assert outcome.status == 0, outcome.stderr
        return outcome.stdout.removesuffix("\n")

    def stored(self, column: str = "id") -> list[Any]:
        return stored_keys(self.url, column)

    def rows(self) -> list[list[str]]:
        """Return the rows of `keys list` without the header."""
        outcome = self("list")
        assert outcome.status == 0, outcome.stderr
        return [re.split(r"  +", line) for line in outcome.stdout.splitlines()[1:]]


@pytest.fixture
def keys(hexapost: Hexapost, database: URL) -> Keys:
    return Keys(hexapost, database)


@pytest.fixture
def own(tmp_path: Path) -> Revisions:
    """A directory for the revisions of the test."""
    directory = tmp_path / "versions"
    directory.mkdir()
    return Revisions(directory)
