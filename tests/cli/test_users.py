"""Tests for `hexapost users`."""

import io
import json
import os
import pty
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from adapters.clock import new_id
from tests.cli.conftest import Hexapost
from tests.cli.support import queried, rendered
from tests.cli.test_commands import EXPIRED_USER_AND_POSTS


@pytest.fixture
def user_id(database: URL) -> str:
    """The ID of a user with three posts."""
    queried(database, EXPIRED_USER_AND_POSTS)
    (found,) = queried(database, "SELECT id FROM users")
    return str(found)


def _check(document: Any, user_id: str) -> None:
    assert list(document) == ["user", "posts", "api_keys", "audit_entries"]
    assert (document["user"]["id"], len(document["posts"]), document["api_keys"]) == (user_id, 3, [])


def test_users_export_writes_only_the_document_to_stdout(hexapost: Hexapost, database: URL, user_id: str) -> None:
    outcome = hexapost("users", "export", user_id, DATABASE_URL=rendered(database))
    assert outcome.status == 0, outcome.stderr
    _check(json.loads(outcome.stdout), user_id)
    assert outcome.stderr.splitlines()[-1] == f"hexapost: exported user {user_id}"


def test_users_export_replaces_a_file_only_with_force(
    hexapost: Hexapost, database: URL, user_id: str, tmp_path: Path
) -> None:
    arguments = ("users", "export", user_id, "--output", "ada.json")
    assert hexapost(*arguments, DATABASE_URL=rendered(database)).status == 0
    path = tmp_path / "ada.json"
    _check(json.loads(path.read_text()), user_id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("kept")
    outcome = hexapost(*arguments, DATABASE_URL=rendered(database))
    assert outcome.status == 2
    assert "must be a new file" in outcome.stderr
    assert path.read_text() == "kept"
    assert hexapost(*arguments, "--force", DATABASE_URL=rendered(database)).status == 0
    _check(json.loads(path.read_text()), user_id)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_users_export_keeps_the_file_after_an_error(
    hexapost: Hexapost, database: URL, tmp_path: Path, options: list[str]
) -> None:
    path = tmp_path / "ada.json"
    if options:
        path.write_text("kept")
    outcome = hexapost(
        "users", "export", str(new_id()), "--output", str(path), *options, DATABASE_URL=rendered(database)
    )
    assert outcome.status == 2
    assert outcome.stderr.splitlines()[-1] == "hexapost: Invalid value: No user has this ID."
    assert [found.read_text() for found in tmp_path.iterdir()] == ["kept"] * len(options)


def test_users_export_rejects_a_file_that_is_not_regular(
    hexapost: Hexapost, database: URL, user_id: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    outcome = hexapost("users", "export", user_id, "--force", "--output", "pipe", DATABASE_URL=rendered(database))
    assert outcome.status == 2
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_users_export_shows_progress_on_a_terminal(
    hexapost: Hexapost, database: URL, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        outcome = hexapost("users", "export", user_id, DATABASE_URL=rendered(database))
        shown = os.read(leader, 65_536).decode()
    os.close(leader)
    assert outcome.status == 0
    _check(json.loads(outcome.stdout), user_id)
    assert "posts" in shown


def _users(database: URL) -> list[str]:
    return [str(found) for found in queried(database, "SELECT id FROM users")]


def test_users_erase_prints_only_the_receipt_to_stdout(hexapost: Hexapost, database: URL, user_id: str) -> None:
    for _ in range(2):  # the second command prints the stored receipt
        outcome = hexapost("users", "erase", user_id, "--yes", DATABASE_URL=rendered(database))
        assert outcome.status == 0, outcome.stderr
        receipt = json.loads(outcome.stdout)
        assert (receipt["user_id"], receipt["actor_kind"], receipt["actor_id"]) == (user_id, "operator", None)
        assert receipt["erased_rows"] == {"users": 1, "posts": 3, "api_keys": 0, "idempotency_records": 0}
        assert outcome.stderr.splitlines()[-1] == f"hexapost: erased user {user_id}"
    assert _users(database) == []


def test_users_erase_rejects_an_unknown_user(hexapost: Hexapost, database: URL, user_id: str) -> None:
    outcome = hexapost("users", "erase", str(new_id()), "--yes", DATABASE_URL=rendered(database))
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.splitlines()[-1] == "hexapost: Invalid value: No user has this ID."
    assert _users(database) == [user_id]


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None], ids=["pipe", "closed"])
def test_users_erase_requires_yes_without_a_terminal(
    hexapost: Hexapost, database: URL, user_id: str, monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO | None
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    outcome = hexapost("users", "erase", user_id, DATABASE_URL=rendered(database))
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "'--yes'" in outcome.stderr
    assert _users(database) == [user_id]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", ["y", "n", "", "end of input"])
def test_users_erase_asks_on_a_terminal(
    hexapost: Hexapost, database: URL, user_id: str, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal("" if answer == "end of input" else f"{answer}\n"))
    outcome = hexapost("users", "erase", user_id, DATABASE_URL=rendered(database))
    assert f"Erase user {user_id} and all data about them?" in outcome.stderr
    if answer == "y":
        assert (outcome.status, json.loads(outcome.stdout)["user_id"], _users(database)) == (0, user_id, [])
    else:
        assert (outcome.status, outcome.stdout, _users(database)) == (1, "", [user_id])
        assert outcome.stderr.splitlines()[-1].endswith("hexapost: the user was not erased")
