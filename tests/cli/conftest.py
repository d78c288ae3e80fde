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
from tests.cli.support import queried, rendered


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and how it ended."""

    status: int
    stdout: str
    stderr: str


class Hexapost(Protocol):
    def __call__(self, *arguments: str, **variables: str) -> Outcome: ...


@pytest.fixture
def hexapost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    restored_logs: None,  # noqa: ARG001 - the command writes them to what is captured
) -> Iterator[Hexapost]:
    """Run the command to its end, in this process, with these settings and no others."""
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
            except SystemExit as ended:  # words that cannot be read
                status = int(ended.code or 0)
        printed = capfd.readouterr()
        return Outcome(status, printed.out, printed.err)

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


CREATE = ("create", "--name", "K", "--scope", "users:read")


class Keys:
    """Runs `hexapost keys` on one database."""

    def __init__(self, hexapost: Hexapost, url: URL) -> None:
        self.url = url
        self._hexapost = hexapost

    def __call__(self, *words: str, **variables: str) -> Outcome:
        return self._hexapost("keys", *words, DATABASE_URL=rendered(self.url), **variables)

    def created(self, *words: str, **variables: str) -> str:
        """Create a key and return it."""
        outcome = self(*(words or CREATE), **variables)
        assert outcome.status == 0, outcome.stderr
        return outcome.stdout.removesuffix("\n")

    def stored(self, column: str = "id") -> list[Any]:
        return queried(self.url, f"SELECT {column} FROM api_keys ORDER BY id")  # noqa: S608 - a word of these tests

    def rows(self) -> list[list[str]]:
        """Return the table that is listed, without its head."""
        outcome = self("list")
        assert outcome.status == 0, outcome.stderr
        return [re.split(r"  +", line) for line in outcome.stdout.splitlines()[1:]]


@pytest.fixture(params=["asyncpg", "psycopg"])
def keys(hexapost: Hexapost, scratch: URL, request: pytest.FixtureRequest) -> Keys:
    return Keys(hexapost, scratch.set(drivername=f"postgresql+{request.param}"))
