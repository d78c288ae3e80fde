"""`hexapost serve --admin-key`: the key that a first request is tried with."""

import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from adapters.cli import admin_key, opened
from adapters.cli.admin_key import admin_header
from adapters.cli.secrets import key_peppers
from adapters.settings import Settings
from application.credentials import key_id_of
from domain.keys import Scope
from tests.cli.conftest import Hexapost
from tests.cli.support import PATIENCE, environment, queried, rendered, serving

NEW = re.compile(r"'Authorization: Bearer (hexa_\w+)'")


class Starter:
    """What a start with `--admin-key` does on the embedded database; that of the tests stands in for it."""

    def __init__(self, directory: Path, url: URL) -> None:
        self.settings = Settings(state_directory=directory / "of state")
        self.settings.state_directory.mkdir(exist_ok=True)
        self.path = self.settings.state_directory / "admin.key"
        self.url = url.set(drivername="postgresql+asyncpg")

    def start(self) -> str | None:
        return admin_header(self.settings, self.url)

    def made(self) -> str:
        """Start, and return the key that was made."""
        header = self.start()
        assert header is not None
        found = NEW.fullmatch(header)
        assert found, header
        return found[1]

    def stored(self, column: str = "id") -> list[Any]:
        return queried(self.url, f"SELECT {column} FROM api_keys ORDER BY id")  # noqa: S608 - a word of these tests

    def told(self) -> str:
        """Return the words for a key that is in the file."""
        return f"\"Authorization: Bearer $(cat '{self.path}')\""


@pytest.fixture
def starter(tmp_path: Path, scratch: URL) -> Starter:
    return Starter(tmp_path, scratch)


def test_the_key_is_made_once(starter: Starter, capfd: pytest.CaptureFixture[str]) -> None:
    text = starter.made()
    assert starter.path.read_text() == f"{text}\n"
    assert starter.path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in starter.path.parent.iterdir()) == ["admin.key", "key.pepper"]
    assert (starter.stored("name"), starter.stored()) == (["admin"], [key_id_of(text)])
    assert set(starter.stored("scopes")[0]) == set(Scope)
    (digest,) = starter.stored("digest")
    assert bytes(digest) == key_peppers(starter.settings).hashed(text).digest
    assert f"made a key that may do everything; it is kept in {starter.path}" in capfd.readouterr().out

    assert starter.start() == starter.told()
    assert len(starter.stored()) == 1
    assert capfd.readouterr().out == ""


def test_a_shell_makes_the_header_of_the_words(starter: Starter) -> None:
    text = starter.made()
    for words in (f"'Authorization: Bearer {text}'", starter.told()):
        done = subprocess.run(  # noqa: S602 - what a user would paste
            f"printf %s {words}", shell=True, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
        assert done.stdout == f"Authorization: Bearer {text}"


@pytest.mark.parametrize("content", ["", "nonsense", "hexa_", "\x00\xff\n", None])
def test_a_file_without_a_key_gets_one(starter: Starter, content: str | None) -> None:
    if content is not None:
        starter.path.write_text(content)
    assert starter.path.parent.exists()
    text = starter.made()
    assert starter.path.read_text() == f"{text}\n"
    assert starter.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("lost", ["the database", "the pepper"])
def test_a_key_that_opens_nothing_any_more_is_replaced(starter: Starter, lost: str) -> None:
    first = starter.made()
    if lost == "the database":
        queried(starter.url, "DELETE FROM api_keys RETURNING 1")
    else:
        (starter.path.parent / "key.pepper").unlink()
    second = starter.made()
    assert second != first
    assert starter.path.read_text() == f"{second}\n"
    assert starter.start() == starter.told()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("revoked_at = now()", "was revoked"),
        ("created_at = '2020-01-01Z', expires_at = '2020-01-02Z'", "has expired"),
    ],
)
def test_a_key_that_was_ended_is_not_replaced(
    starter: Starter, capfd: pytest.CaptureFixture[str], how: str, said: str
) -> None:
    text = starter.made()
    queried(starter.url, f"UPDATE api_keys SET {how} RETURNING 1")  # noqa: S608 - a word of this test
    assert starter.start() is None
    line = f"hexapost: the key in {starter.path} {said}; to get another, remove the file and start again\n"
    assert capfd.readouterr().err == line
    assert starter.path.read_text() == f"{text}\n"
    assert len(starter.stored()) == 1
    starter.path.unlink()
    assert starter.made() != text


def test_a_key_that_could_not_be_kept_opens_nothing(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        key_peppers(starter.settings)
        patch.setattr(os, "fsync", _full)
        with pytest.raises(OSError, match="No space"):
            starter.start()
    assert starter.stored("revoked_at IS NOT NULL") == [True]
    assert [path.name for path in starter.path.parent.iterdir()] == ["key.pepper"]
    starter.made()


def _full(_: int) -> None:
    raise OSError("No space left on device")


def test_nobody_else_can_read_the_file_at_any_moment(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in starter.path.parent.iterdir())
        fsync(descriptor)

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "fsync", seen)
        starter.made()
    finally:
        os.umask(before)
    assert set(modes) == {0o600}


def test_two_starters_end_with_one_key(starter: Starter) -> None:
    with ThreadPoolExecutor(4) as threads:
        headers = list(threads.map(lambda _: starter.start(), range(4)))
    texts = [found[1] for header in headers if header and (found := NEW.fullmatch(header))]
    assert len(texts) == 1
    assert headers.count(starter.told()) == 3
    assert starter.path.read_text() == f"{texts[0]}\n"
    assert len(starter.stored()) == 1


def test_on_a_database_of_others_it_is_said_how_to_make_a_key(
    tmp_path: Path, scratch: URL, capfd: pytest.CaptureFixture[str], hexapost: Hexapost
) -> None:
    url = scratch.set(drivername="postgresql+asyncpg")
    settings = Settings(state_directory=tmp_path / "state", database_url=url)
    assert admin_header(settings, url) is None
    (line,) = capfd.readouterr().out.splitlines()
    words = line.removeprefix("hexapost: there is no API key yet; to make one: hexapost ").split()
    assert queried(scratch, "SELECT id FROM api_keys") == []
    assert not settings.state_directory.exists()

    assert hexapost(*words, DATABASE_URL=rendered(scratch)).status == 0
    (scopes,) = queried(scratch, "SELECT scopes FROM api_keys")
    assert set(scopes) == set(Scope)
    assert admin_header(settings, url) is None
    assert capfd.readouterr().out == ""


def test_two_services_print_what_to_try(tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = ("--embedded", "--migrate", "--admin-key")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        served = [
            stack.enter_context(serving(directory, *arguments, HEXAPOST_STATE_DIRECTORY=str(state)))
            for directory in (tmp_path / "first", tmp_path / "second")
        ]
        tries = []
        for each in served:
            each.base_url()
            assert each.stop(signal.SIGTERM) == 0
            tries += re.findall(r"^hexapost: try: (.+)$", each.output, re.MULTILINE)
    text = (state / "admin.key").read_text().strip()
    assert sorted(line.replace(text, "KEY").partition(" -H ")[2].partition(" -H ")[0] for line in tries) == [
        f'"Authorization: Bearer $(cat {state}/admin.key)"',
        "'Authorization: Bearer KEY'",
    ]
    assert all(line.startswith("curl http://127.0.0.1:") and "/api/v1/users -H " in line for line in tries)


def test_make_run_asks_for_the_key() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["make", "--dry-run", "run"],  # noqa: S607 - the one of the machine
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert "serve --embedded --migrate --admin-key" in done.stdout


def test_the_database_is_not_looked_at_twice(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    async def looked(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(opened, "readiness", looked)
    starter.made()


def test_without_the_flag_there_is_no_key(tmp_path: Path, scratch: URL) -> None:
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        served.base_url()
        assert served.stop(signal.SIGTERM) == 0
    assert "try:" not in served.output
    assert "API key" not in served.output
    assert not (tmp_path / ".hexapost" / "admin.key").exists()


def test_a_key_that_was_cut_short_by_the_end_of_the_process_is_revoked(
    starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise SystemExit(143)

    key_peppers(starter.settings)
    monkeypatch.setattr(admin_key, "drafted", ended)
    with pytest.raises(SystemExit):
        starter.start()
    assert starter.stored("revoked_at IS NOT NULL") == [True]
