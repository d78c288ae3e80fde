"""The commands besides `serve`, and what is said about bad settings and bad words."""

import json
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from adapters.cli.secrets import kept
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


@pytest.mark.parametrize("command", ["serve", "migrate", "check"])
def test_a_database_is_asked_for(hexapost: Hexapost, command: str) -> None:
    outcome = hexapost(command)
    assert outcome.status == 2
    assert outcome.stderr == "hexapost: DATABASE_URL: must be set, or --embedded be given\n"


def test_serve_refuses_a_database_behind_it(hexapost: Hexapost, empty: URL) -> None:
    outcome = hexapost("serve", "--port", "0", DATABASE_URL=rendered(empty))
    assert outcome.status == 1
    assert "cannot serve: migrations behind this release: run the migrations" in outcome.stderr


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("command", ["serve", "check", "migrate"])
def test_a_database_out_of_reach_is_said_without_the_password(hexapost: Hexapost, command: str, driver: str) -> None:
    outcome = hexapost(command, DATABASE_URL=f"postgresql+{driver}://hexapost:h1dden@127.0.0.1:1/nothing")
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
    assert len(first) == 32
    assert kept(path) == first
    assert list(path.parent.iterdir()) == [path]
    assert kept(path.with_name("other")) != first


def test_the_schema_that_migrate_makes_refuses_what_the_rules_refuse(hexapost: Hexapost, empty: URL) -> None:
    assert hexapost("migrate", DATABASE_URL=rendered(empty)).status == 0
    assert "ck_posts_status_known" in queried(empty, "SELECT conname FROM pg_constraint")
