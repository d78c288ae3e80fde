"""Tests for `--embedded`: commands on the embedded PostgreSQL."""

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError

import pytest

from application.api_key_tokens import parse_api_key_id
from tests.cli.conftest import CREATE, Hexapost
from tests.cli.support import COMMAND, PATIENCE, Served, environment, serving, wait_until
from tests.embedded.conftest import template
from tests.embedded.support import (
    HOSTILE_VARIABLES,
    all_gone,
    copy_cluster,
    daemon_pid,
    is_alive,
    postmaster_pid,
    quiet,
)
from tests.embedded.test_os_user import IS_ROOT

__all__ = ["template"]
ADMIN = ("--embedded", "--migrate", "--create-admin-key")


@pytest.fixture
def state(template: Path, tmp_path: Path) -> Path:
    """A state directory with a stopped cluster."""
    copy_cluster(template, tmp_path / "state" / "postgres")
    return tmp_path / "state"


@pytest.fixture
def running_state(state: Path) -> Iterator[str]:
    """A state directory with a running server."""
    with quiet(state / "postgres"):
        yield str(state)


def test_keys_work_on_embedded_database(hexapost: Hexapost, running_state: str) -> None:
    assert hexapost("migrate", "--embedded", HEXAPOST_STATE_DIRECTORY=running_state).status == 0

    def keys(*arguments: str) -> str:
        outcome = hexapost("keys", *arguments, "--embedded", HEXAPOST_STATE_DIRECTORY=running_state)
        assert outcome.status == 0, outcome.stderr
        assert "pepper" not in outcome.stderr
        return outcome.stdout

    key_id = parse_api_key_id(keys(*CREATE).removesuffix("\n"))
    assert key_id is not None
    assert str(key_id) in keys("list").splitlines()[1]
    keys("revoke", key_id.hex)
    assert "revoked" in keys("list")


def test_with_database_sets_url_and_returns_exit_status(hexapost: Hexapost, running_state: str) -> None:
    script = "import os, sys; print(os.environ['DATABASE_URL']); sys.exit(7)"
    command = ("with-database", "--embedded")
    outcome = hexapost(*command, sys.executable, "-c", script, HEXAPOST_STATE_DIRECTORY=running_state)
    assert outcome.status == 7
    assert "postgresql+asyncpg://" in outcome.stdout
    outcome = hexapost(*command, "--", HEXAPOST_STATE_DIRECTORY=running_state)
    assert outcome.status == 2
    assert "Missing argument 'COMMAND'" in outcome.stderr


def test_services_share_embedded_database(tmp_path: Path, state: Path) -> None:
    postgres = state / "postgres"
    variables = {"HEXAPOST_STATE_DIRECTORY": str(state)}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        first, second = [
            stack.enter_context(serving(tmp_path / name, *ADMIN, **variables)) for name in ("first", "second")
        ]
        first.base_url(), second.base_url()
        key = (state / "admin.key").read_text().strip()
        for name in ("ada", "bob"):
            body = json.dumps({"email": f"{name}@example.org"}).encode()
            location = first.get("/api/v1/users", method="POST", body=body, key=key).headers["Location"]
        assert first.stop(signal.SIGINT) == 0
        assert json.load(second.get(location, key=key))["email"] == "bob@example.org"
        cursor = json.load(second.get("/api/v1/users?limit=1", key=key))["next_cursor"]
        started = {daemon_pid(postgres), postmaster_pid(postgres)}
        assert all(map(is_alive, started))
        assert second.stop(signal.SIGTERM) == 0
        wait_until(lambda: all_gone(started))
    header = f'"Authorization: Bearer $(cat {shlex.quote(str(state))}/admin.key)"'
    for served in (first, second):
        assert f"/api/v1/users -H {header} -H " in served.output
        assert key not in served.output

    with serving(tmp_path, "--embedded", **variables) as served:
        page = json.load(served.get(f"/api/v1/users?limit=1&cursor={cursor}", key=key))
    assert [user["email"] for user in page["items"]] == ["ada@example.org"]
    assert (state / "cursor.secret").stat().st_mode & 0o777 == 0o600


def test_service_and_migrations_ignore_caller_variables(tmp_path: Path, state: Path) -> None:
    variables = HOSTILE_VARIABLES | {"HEXAPOST_STATE_DIRECTORY": str(state), "HEXAPOST_WORKERS": "2"}
    with serving(tmp_path, *ADMIN, **variables) as served:
        served.base_url()
        assert _is_served(served, (state / "admin.key").read_text().strip())
        assert served.stop(signal.SIGTERM) == 0


def test_state_directory_becomes_private(hexapost: Hexapost, state: Path) -> None:
    directories = (state, state / "postgres")
    for directory in directories:
        directory.chmod(0o755)
    outcome = hexapost("with-database", "--embedded", "/bin/true", HEXAPOST_STATE_DIRECTORY=str(state))
    assert outcome.status == 0, outcome.stderr
    assert [stat.S_IMODE(directory.stat().st_mode) for directory in directories] == [0o700, 0o700]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "cannot use the directory {path}: Not a directory."),
        ("file/below", "cannot use the directory {path}: Not a directory."),
        ("shared", "cannot use the directory {path}: All users share it. Choose a directory below it."),
        ("state", "{path}/postgres/data has a cluster of PostgreSQL version 13, but PostgreSQL "),
    ],
)
def test_unusable_state_directory_prints_one_line(
    hexapost: Hexapost, tmp_path: Path, state: Path, name: str, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (state / "postgres" / "data" / "PG_VERSION").write_text("13\n")
    outcome = hexapost("migrate", "--embedded", HEXAPOST_STATE_DIRECTORY=str(tmp_path / name))
    assert (outcome.status, outcome.stdout) == (1, "")
    (line,) = outcome.stderr.splitlines()
    assert message.format(path=tmp_path / name) in line
    assert (tmp_path / "shared").stat().st_mode & 0o7777 == 0o1777


def test_state_directory_without_write_permission_prints_one_line(hexapost: Hexapost, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    state = Path("/proc/hexapost") if IS_ROOT else tmp_path / "state"  # root may write everywhere else
    outcome = hexapost("migrate", "--embedded", HEXAPOST_STATE_DIRECTORY=str(state))
    tmp_path.chmod(0o700)
    assert (outcome.status, outcome.stdout) == (1, "")
    line = rf"hexapost: PostgreSQL cannot use the directory {state}: [\w -]+\.\n"
    assert re.fullmatch(line, outcome.stderr), outcome.stderr


@pytest.mark.skipif(sys.platform != "linux" or not IS_ROOT, reason="only root of Linux can mount a small file system")
def test_full_disk_prints_one_line(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size="$1" tmpfs {tmp_path} || exit 77; shift; exec "$@"'
    for size in ("8m", "16k"):
        outcome = subprocess.run(  # noqa: S603 - our own command
            ["/usr/bin/unshare", "--mount", "sh", "-c", mount, "sh", size, *COMMAND, "migrate", "--embedded"],
            cwd="/",
            env=environment(HEXAPOST_STATE_DIRECTORY=str(tmp_path / "state")),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if outcome.returncode == 77:
            pytest.skip("this container cannot mount a file system")
        assert outcome.returncode == 1
        (line,) = outcome.stderr.splitlines()
        assert re.search("No space left on device|the disk may be full", line)


@pytest.mark.drill
def test_service_recovers_after_sigkill_of_daemon(tmp_path: Path, state: Path) -> None:
    with serving(tmp_path, *ADMIN, HEXAPOST_STATE_DIRECTORY=str(state)) as served:
        served.base_url()
        key = (state / "admin.key").read_text().strip()
        killed = {daemon_pid(state / "postgres"), postmaster_pid(state / "postgres")}
        os.kill(daemon_pid(state / "postgres"), signal.SIGKILL)
        wait_until(lambda: all_gone(killed))
        wait_until(lambda: _is_served(served, key))
        started = {daemon_pid(state / "postgres"), postmaster_pid(state / "postgres")}
        assert served.stop(signal.SIGTERM) == 0
    assert all_gone(started)


@pytest.mark.drill
def test_service_exits_when_killed_daemon_cannot_be_restarted(tmp_path: Path, state: Path) -> None:
    with serving(tmp_path, *ADMIN, HEXAPOST_STATE_DIRECTORY=str(state)) as served:
        served.base_url()
        killed = {daemon_pid(state / "postgres"), postmaster_pid(state / "postgres")}
        (state / "postgres" / "data" / "PG_VERSION").write_text("13")
        os.kill(daemon_pid(state / "postgres"), signal.SIGKILL)
        served.process.wait(PATIENCE)
    assert served.process.returncode == 1
    assert served.output.count("hexapost: PostgreSQL ended and cannot be restarted: ") == 1
    assert all_gone(killed)


def _is_served(served: Served, key: str) -> bool:
    try:
        return bool(served.get("/api/v1/users", key=key).status == 200)
    except HTTPError:
        return False
