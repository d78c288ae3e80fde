"""Tests for `hexapost serve --create-admin-key`."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from adapters.cli import database as cli_database
from adapters.cli.dev_admin_key import ensure_admin_key_header
from adapters.secret_files import key_peppers
from adapters.settings import Settings
from application.api_key_tokens import parse_api_key_id
from domain.api_keys import Scope
from tests.cli.conftest import Hexapost, stored_keys
from tests.cli.support import PATIENCE, ROOT, queried, rendered


class Starter:
    """Gets the admin key as `serve --embedded --create-admin-key` does, from the database of the tests."""

    def __init__(self, directory: Path, url: URL) -> None:
        self.settings = Settings(state_directory=directory / "of state")
        self.settings.state_directory.mkdir(exist_ok=True)
        self.path = self.settings.state_directory / "admin.key"
        self.url = url

    def start(self) -> str | None:
        return ensure_admin_key_header(self.settings, self.url)

    def start_with_new_key(self) -> str:
        """Start, and return the new key."""
        before = self.stored()
        assert self.start() == self.header_from_file
        assert self.stored() != before
        return self.path.read_text().strip()

    def stored(self, column: str = "id") -> list[Any]:
        return stored_keys(self.url, column)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.iterdir())

    @property
    def header_from_file(self) -> str:
        return f"\"Authorization: Bearer $(cat '{self.path}')\""


@pytest.fixture
def starter(tmp_path: Path, database: URL) -> Starter:
    return Starter(tmp_path, database)


def test_admin_key_is_created_once(
    starter: Starter, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_database, "readiness", None)  # `serve` has checked it already
    text = starter.start_with_new_key()
    assert starter.path.read_text() == f"{text}\n"
    assert starter.path.stat().st_mode & 0o777 == 0o600
    assert starter.files() == ["admin.key", "key.pepper"]
    assert (starter.stored("name"), starter.stored()) == (["admin"], [parse_api_key_id(text)])
    assert set(starter.stored("scopes")[0]) == set(Scope)
    (digest,) = starter.stored("digest")
    assert bytes(digest) == key_peppers(starter.settings).hash(text).digest
    assert f"created an API key with all scopes in {starter.path}" in capfd.readouterr().out

    assert starter.start() == starter.header_from_file
    assert len(starter.stored()) == 1
    assert capfd.readouterr().out == ""


def test_new_admin_key_is_printed_on_a_terminal_only(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    header = starter.start()
    assert header == f"'Authorization: Bearer {starter.path.read_text().strip()}'"
    starter.path.unlink()
    monkeypatch.undo()
    assert starter.start() == starter.header_from_file


def test_admin_header_is_valid_shell_syntax(starter: Starter) -> None:
    text = starter.start_with_new_key()
    for header in (f"'Authorization: Bearer {text}'", starter.header_from_file):
        done = subprocess.run(  # noqa: S602 - a user pastes it into a shell
            f"printf %s {header}", shell=True, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
        assert done.stdout == f"Authorization: Bearer {text}"


@pytest.mark.parametrize("lost", ["database", "pepper", "file: ", "file: nonsense", "file: hexa_", "file: \x00\xff\n"])
def test_admin_key_is_replaced_when_unknown(starter: Starter, lost: str) -> None:
    first = starter.start_with_new_key()
    if lost == "database":
        queried(starter.url, "DELETE FROM api_keys")
    elif lost == "pepper":
        (starter.path.parent / "key.pepper").unlink()
    else:
        starter.path.write_text(lost.removeprefix("file: "))
    second = starter.start_with_new_key()
    assert second != first
    assert starter.path.read_text() == f"{second}\n"
    assert starter.path.stat().st_mode & 0o777 == 0o600
    assert starter.start() == starter.header_from_file


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("revoked_at = now()", "was revoked"),
        ("created_at = '2020-01-01Z', expires_at = '2020-01-02Z'", "has expired"),
    ],
)
def test_admin_key_is_not_replaced_when_inactive(
    starter: Starter, capfd: pytest.CaptureFixture[str], change: str, state: str
) -> None:
    text = starter.start_with_new_key()
    queried(starter.url, f"UPDATE api_keys SET {change}")  # noqa: S608 - a parameter of this test
    assert starter.start() is None
    line = f"hexapost: the key in {starter.path} {state}. Remove the file and start again to create a new one.\n"
    assert capfd.readouterr().err == line
    assert starter.path.read_text() == f"{text}\n"
    assert len(starter.stored()) == 1
    starter.path.unlink()
    assert starter.start_with_new_key() != text


@pytest.mark.parametrize("error", [OSError("No space left on device"), SystemExit(143)], ids=["full disk", "SIGTERM"])
def test_admin_key_is_revoked_when_file_is_not_written(
    starter: Starter, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: int) -> None:
        raise error

    key_peppers(starter.settings)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(type(error)):
            starter.start()
    assert starter.stored("revoked_at IS NOT NULL") == [True]
    assert starter.files() == ["key.pepper"]
    starter.start_with_new_key()


def test_admin_key_file_is_always_private(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    fsync = os.fsync

    def record_modes(descriptor: int) -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in starter.path.parent.iterdir())
        fsync(descriptor)

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "fsync", record_modes)
        starter.start_with_new_key()
    finally:
        os.umask(before)
    assert set(modes) == {0o600}


def test_concurrent_starts_create_a_single_admin_key(starter: Starter) -> None:
    with ThreadPoolExecutor(4) as threads:
        headers = list(threads.map(lambda _: starter.start(), range(4)))
    assert headers == [starter.header_from_file] * 4
    assert starter.stored() == [parse_api_key_id(starter.path.read_text().strip())]


def test_admin_key_prints_create_command_with_database_url(
    tmp_path: Path, database: URL, capfd: pytest.CaptureFixture[str], hexapost: Hexapost
) -> None:
    settings = Settings(state_directory=tmp_path / "state", database_url=database)
    assert ensure_admin_key_header(settings, database) is None
    (line,) = capfd.readouterr().out.splitlines()
    arguments = line.removeprefix("hexapost: no API key exists yet. Create one: hexapost ").split()
    assert queried(database, "SELECT id FROM api_keys") == []
    assert not settings.state_directory.exists()

    assert hexapost(*arguments, DATABASE_URL=rendered(database)).status == 0
    (scopes,) = queried(database, "SELECT scopes FROM api_keys")
    assert set(scopes) == set(Scope)
    assert ensure_admin_key_header(settings, database) is None
    assert capfd.readouterr().out == ""


def test_make_run_requests_admin_key() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^run:.*\n\t.* serve --embedded --migrate --create-admin-key", makefile, re.MULTILINE)
