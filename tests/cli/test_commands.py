"""The commands besides `serve`, and what is said about bad settings and bad words."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import URL

from adapters.cli.secrets import kept, key_peppers
from adapters.settings import Settings, load_settings
from application.credentials import Peppers
from tests.cli.conftest import Hexapost
from tests.cli.support import ROOT, queried, rendered


def test_all_bad_settings_are_named_at_once_without_their_values(hexapost: Hexapost) -> None:
    outcome = hexapost(
        "serve",
        DATABASE_URL="mysql://root:h1dden@db/x",
        HEXAPOST_POOL_SIZE="h1dden",
        HEXAPOST_COLOUR="h1dden",
        HEXAPOST_CURSOR_SECRET="h1dden",  # noqa: S106 - too short to be one
    )
    assert outcome.status == 2
    lines = outcome.stderr.splitlines()
    assert len(lines) == 4
    for name in ("DATABASE_URL", "HEXAPOST_POOL_SIZE", "HEXAPOST_COLOUR", "HEXAPOST_CURSOR_SECRET"):
        assert sum(line.startswith(f"hexapost: {name}: ") for line in lines) == 1
    assert "h1dden" not in outcome.stderr


@pytest.mark.parametrize("command", ["serve", "migrate", "check", "purge", "keys list"])
def test_a_database_is_asked_for(hexapost: Hexapost, command: str) -> None:
    outcome = hexapost(*command.split())
    assert outcome.status == 2
    assert outcome.stderr == "hexapost: DATABASE_URL: must be set, or --embedded be given\n"


def test_serve_refuses_a_database_behind_it(hexapost: Hexapost, empty: URL) -> None:
    outcome = hexapost("serve", "--port", "0", DATABASE_URL=rendered(empty))
    assert outcome.status == 1
    assert "cannot serve: migrations behind this release: run the migrations" in outcome.stderr


@pytest.mark.parametrize("command", ["purge", "keys list", "keys create --name K --scope users:read"])
def test_a_command_refuses_a_database_behind_it(hexapost: Hexapost, empty: URL, command: str) -> None:
    outcome = hexapost(*command.split(), DATABASE_URL=rendered(empty))
    assert outcome.status == 1
    assert outcome.stderr.splitlines()[-1] == "hexapost: migrations behind this release: run the migrations"
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("command", ["serve", "check", "migrate", "purge", "keys list"])
def test_a_database_out_of_reach_is_said_without_the_password(hexapost: Hexapost, command: str, driver: str) -> None:
    outcome = hexapost(*command.split(), DATABASE_URL=f"postgresql+{driver}://hexapost:h1dden@127.0.0.1:1/nothing")
    assert outcome.status == 1
    assert "reach" in outcome.stdout + outcome.stderr
    assert "h1dden" not in outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_migrate_and_check(hexapost: Hexapost, empty: URL, driver: str) -> None:
    url = rendered(empty.set(drivername=f"postgresql+{driver}"))
    before = hexapost("check", DATABASE_URL=url)
    assert before.status == 1
    assert "migrations: behind this release: run the migrations (NOT READY)" in before.stdout

    first = hexapost("migrate", DATABASE_URL=url)
    assert first.status == 0, first.stderr
    assert "applied revision" in first.stdout
    second = hexapost("migrate", DATABASE_URL=url)
    assert "applied revision" not in second.stdout

    after = hexapost("check", DATABASE_URL=url)
    assert after.status == 0
    assert "migrations: current" in after.stdout


def test_with_database_hands_on_the_url_and_the_exit_status(hexapost: Hexapost) -> None:
    script = "import os, sys; print(os.environ['DATABASE_URL']); sys.exit(7)"
    outcome = hexapost("with-database", "--embedded", sys.executable, "-c", script)
    assert outcome.status == 7
    assert "postgresql+asyncpg://" in outcome.stdout


def test_openapi_is_printed_written_and_compared(hexapost: Hexapost, tmp_path: Path) -> None:
    printed = hexapost("openapi")
    assert json.loads(printed.stdout)["openapi"].startswith("3.1")
    assert printed.stdout == (ROOT / "openapi.json").read_text()

    path = tmp_path / "openapi.json"
    assert hexapost("openapi", "--write", str(path)).status == 0
    assert path.read_text() == printed.stdout
    assert hexapost("openapi", "--check", str(path)).status == 0
    path.write_text(printed.stdout.replace("Hexapost", "Heptapost"))
    assert hexapost("openapi", "--check", str(path)).status == 1


def test_a_file_that_is_not_there_is_said_in_a_line(hexapost: Hexapost) -> None:
    outcome = hexapost("openapi", "--check", "nowhere.json")
    assert outcome.status == 1
    assert "Traceback" not in outcome.stderr
    assert "nowhere.json" in outcome.stderr


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "secret"
    first = kept(path)
    assert re.fullmatch(rb"[0-9a-f]{64}", first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept(path) == first
    assert list(path.parent.iterdir()) == [path]
    assert kept(path.with_name("other")) != first


def test_a_secret_of_before_is_kept_and_one_that_was_lost_is_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"\x00" * 32)
    assert kept(path) == b"\x00" * 32
    for lost in (b"", b"x" * 31):
        path.write_bytes(lost)
        with pytest.raises(OSError, match="holds no secret"):
            kept(path)
        assert path.read_bytes() == lost


def test_two_who_make_a_secret_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: kept(tmp_path / "deep" / "secret"), range(32)))
    assert len(set(made)) == 1
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["secret"]


def test_peppers_are_those_of_the_environment_or_one_that_is_kept(tmp_path: Path) -> None:
    made = key_peppers(Settings(state_directory=tmp_path))
    hashed = made.hashed("a key")
    assert hashed == Peppers({1: (tmp_path / "key.pepper").read_bytes()}).hashed("a key")
    assert (tmp_path / "key.pepper").stat().st_mode & 0o777 == 0o600
    carried = f"2:{'x' * 32},1:{(tmp_path / 'key.pepper').read_text()}"
    given = key_peppers(load_settings({"HEXAPOST_KEY_PEPPERS": carried}))
    assert given.matches("a key", hashed)
    assert given.hashed("a key") == Peppers({2: b"x" * 32}).hashed("a key")


def test_the_schema_that_migrate_makes_refuses_what_the_rules_refuse(hexapost: Hexapost, empty: URL) -> None:
    assert hexapost("migrate", DATABASE_URL=rendered(empty)).status == 0
    assert "ck_posts_status_known" in queried(empty, "SELECT conname FROM pg_constraint")
