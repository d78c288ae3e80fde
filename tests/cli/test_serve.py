"""`hexapost serve` as a process: what it starts, says, refuses, and leaves behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.cli.support import COMMAND, PATIENCE, a_key, environment, queried, rendered, serving, wait_until
from tests.embedded.support import all_gone, is_alive, keeper_pid, postmaster_pid

ADA = json.dumps({"email": "ada@example.org"}).encode()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_embedded_data_outlives_the_service_and_no_process_does(tmp_path: Path, stop: signal.Signals) -> None:
    embedded = tmp_path / ".hexapost" / "postgres"
    with serving(tmp_path, "--embedded", "--migrate", "--admin-key") as served:
        served.base_url()
        key = (tmp_path / ".hexapost" / "admin.key").read_text().strip()
        location = served.get("/api/v1/users", method="POST", body=ADA, key=key).headers["Location"]
        started = {keeper_pid(embedded), postmaster_pid(embedded)}
        assert all(map(is_alive, started))
        status = served.stop(stop)
    assert status == (-stop if stop is signal.SIGKILL else 0)
    wait_until(lambda: all_gone(started))

    with serving(tmp_path, "--embedded", "--migrate") as served:
        assert json.load(served.get(location, key=key))["email"] == "ada@example.org"


def test_two_services_share_the_embedded_database(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    state = str(tmp_path / "state")
    with (
        serving(tmp_path, "--embedded", "--migrate", HEXAPOST_STATE_DIRECTORY=state) as first,
        serving(tmp_path / "second", "--embedded", "--migrate", HEXAPOST_STATE_DIRECTORY=state) as second,
    ):
        first.base_url()
        key = a_key(tmp_path, "--embedded", HEXAPOST_STATE_DIRECTORY=state)
        location = first.get("/api/v1/users", method="POST", body=ADA, key=key).headers["Location"]
        assert second.get(location, key=key).status == 200
        assert first.stop(signal.SIGTERM) == 0
        assert second.get(location, key=key).status == 200


def test_cursors_of_one_process_are_good_in_the_next(tmp_path: Path, scratch: URL) -> None:
    key = a_key(tmp_path, DATABASE_URL=rendered(scratch))
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        for name in ("ada", "bob"):
            body = json.dumps({"email": f"{name}@example.org"}).encode()
            served.get("/api/v1/users", method="POST", body=body, key=key)
        cursor = json.load(served.get("/api/v1/users?limit=1", key=key))["next_cursor"]
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        page = json.load(served.get(f"/api/v1/users?limit=1&cursor={cursor}", key=key))
    assert [user["email"] for user in page["items"]] == ["ada@example.org"]
    assert (tmp_path / ".hexapost" / "cursor.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_it_serves_the_database_it_is_given(tmp_path: Path, scratch: URL, driver: str) -> None:
    url = scratch.set(drivername=f"postgresql+{driver}")
    with serving(tmp_path, DATABASE_URL=rendered(url)) as served:
        assert json.load(served.get("/readyz"))["status"] == "ready"
        key = a_key(tmp_path, DATABASE_URL=rendered(url))
        assert served.get("/api/v1/users", method="POST", body=ADA, key=key).status == 201
    assert queried(scratch, "SELECT email FROM users") == ["ada@example.org"]
    assert not (tmp_path / ".hexapost" / "postgres").exists()


def test_it_serves_a_database_ahead_of_it_with_a_warning(tmp_path: Path, scratch: URL) -> None:
    queried(scratch, "UPDATE alembic_version SET version_num = 'of_the_future' RETURNING 1")
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        assert json.load(served.get("/readyz"))["components"]["migrations"]["detail"] == "ahead of this release"
        wait_until(lambda: "schema is ahead of this release" in served.output)


def test_it_says_when_the_port_is_taken(tmp_path: Path, scratch: URL) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving(tmp_path, "--port", port, DATABASE_URL=rendered(scratch)) as served:
            assert served.process.wait(PATIENCE) == 1
    assert "address already in use" in served.output
    assert "Traceback" not in served.output


def test_each_request_is_one_line_of_json_with_its_id(tmp_path: Path, scratch: URL) -> None:
    key = a_key(tmp_path, DATABASE_URL=rendered(scratch))
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        path = "/api/v1/users?email=canary@example.org"
        request_id = served.get(path, key=key).headers["X-Request-ID"]
        assert served.stop(signal.SIGTERM) == 0
        lines = [json.loads(line) for line in served.output.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == request_id]
    assert (line["event"], line["method"], line["route"], line["status"]) == ("request", "GET", "/api/v1/users", 200)
    assert "canary" not in served.output
    assert key not in served.output


def test_it_stops_when_the_process_that_started_it_ends(tmp_path: Path, scratch: URL) -> None:
    script = f"""
import os, subprocess, sys, time
words = {[*COMMAND, "serve", "--port", "0", "--with-parent"]!r}
child = subprocess.Popen([*words, str(os.getpid())])
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(DATABASE_URL=rendered(scratch)),
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert any("documentation at" in line for line in parent.stdout)
        parent.kill()
    if sys.platform == "linux":
        wait_until(lambda: not is_alive(child))
    else:
        os.kill(child, signal.SIGTERM)


def test_it_does_not_start_when_that_process_has_ended_already(tmp_path: Path, scratch: URL) -> None:
    with serving(tmp_path, "--with-parent", "1", DATABASE_URL=rendered(scratch)) as served:
        assert sys.platform != "linux" or served.process.wait(PATIENCE) == 128 + signal.SIGTERM


def test_an_offer_to_upgrade_is_ignored(tmp_path: Path, scratch: URL) -> None:
    key = a_key(tmp_path, DATABASE_URL=rendered(scratch))
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        host, port = served.base_url().removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            for name in ("ada", "bob"):
                body = json.dumps({"email": f"{name}@example.org"})
                head = f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{offer}"
                head += f"Authorization: Bearer {key}\r\n"
                request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
                client.sendall(request[:-5])
                client.sendall(request[-5:])
            client.sendall(f"GET /livez HTTP/1.1\r\nHost: x\r\n{offer}Connection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        assert re.findall(r"HTTP/1\.1 (\d+)", answer) == ["201", "201", "200"]
        assert "WebSocket" not in served.output
        assert served.stop(signal.SIGTERM) == 0
