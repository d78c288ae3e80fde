"""Tests for `--embedded`: commands on the embedded PostgreSQL."""

import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError

import pytest

from application.api_key_tokens import parse_api_key_id
from tests.cli.conftest import CREATE, Hexapost
from tests.cli.support import PATIENCE, Served, serving, wait_until
from tests.embedded.conftest import template
from tests.embedded.support import all_gone, copy_cluster, daemon_pid, is_alive, postmaster_pid, quiet

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
    _check_admin_headers(first.output + second.output, key, state)

    with serving(tmp_path, "--embedded", **variables) as served:
        page = json.load(served.get(f"/api/v1/users?limit=1&cursor={cursor}", key=key))
    assert [user["email"] for user in page["items"]] == ["ada@example.org"]
    assert (state / "cursor.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.drill
def test_service_recovers_after_sigkill_of_daemon(tmp_path: Path, state: Path) -> None:
    variables = {"HEXAPOST_STATE_DIRECTORY": str(state), "PGSSLMODE": "verify-full", "PGTARGETSESSIONATTRS": "standby"}
    with serving(tmp_path, *ADMIN, **variables) as served:
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
    assert "stopping, because the embedded PostgreSQL cannot be restarted" in served.output
    assert all_gone(killed)


def _is_served(served: Served, key: str) -> bool:
    try:
        return bool(served.get("/api/v1/users", key=key).status == 200)
    except HTTPError:
        return False


def _check_admin_headers(output: str, key: str, state: Path) -> None:
    """Check that one service printed the new key, and the other how to read it from the file."""
    commands = re.findall(r"^hexapost: try: (.+)$", output, re.MULTILINE)
    assert sorted(line.replace(key, "KEY").partition(" -H ")[2].partition(" -H ")[0] for line in commands) == [
        f'"Authorization: Bearer $(cat {shlex.quote(str(state))}/admin.key)"',
        "'Authorization: Bearer KEY'",
    ]
    assert all(line.startswith("curl http://127.0.0.1:") and "/api/v1/users -H " in line for line in commands)
