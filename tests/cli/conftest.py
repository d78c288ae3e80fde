import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from adapters.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and how it ended."""

    status: int
    stdout: str
    stderr: str


class Hexapost(Protocol):
    def __call__(self, *arguments: str, **variables: str) -> Outcome: ...


@pytest.fixture
def hexapost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Hexapost]:
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
