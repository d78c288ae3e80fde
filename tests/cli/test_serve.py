"""Tests for `hexapost serve` with one process."""

import asyncio
import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock
from urllib.error import HTTPError

import pytest
from sqlalchemy import URL

from adapters.server import worker_process
from adapters.testing.template_databases import Databases
from tests.cli.support import (
    COMMAND,
    PATIENCE,
    Served,
    blocked_pipe,
    create_api_key,
    environment,
    queried,
    rendered,
    serving,
    serving_with_stderr,
    wait_until,
)
from tests.drills.load.http_connection import Connection
from tests.embedded.support import is_alive

HEAD = "POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SETTINGS = {
    "HEXAPOST_MAX_HEADERS": "10",
    "HEXAPOST_MAX_HEADER_BYTES": "1024",
    "HEXAPOST_MAX_BODY_BYTES": "1024",
    "HEXAPOST_MAX_JSON_DEPTH": "2",
}


class Service(NamedTuple):
    """A running service, its directory, its database, and an API key with all scopes."""

    served: Served
    directory: Path
    url: URL
    key: str

    def exchange(self, *pieces: str) -> str:
        """Send the pieces on a new connection and return the response when the service closes it."""
        with socket.create_connection(self.served.address(), timeout=PATIENCE) as client:
            for piece in pieces:
                client.sendall(piece.encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()


@pytest.fixture(scope="module")
def service(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory, url = tmp_path_factory.mktemp("serve"), databases.clone()
    key = create_api_key(directory, DATABASE_URL=rendered(url))
    with serving(directory, DATABASE_URL=rendered(url), **SETTINGS) as served:
        yield Service(served, directory, url, key)
        assert served.stop(signal.SIGTERM) == 0
        assert "Traceback" not in served.output
    databases.drop(url)


def test_serve_uses_database_url(service: Service) -> None:
    assert json.load(service.served.get("/readyz"))["status"] == "ready"
    body = b'{"email": "ada@example.org"}'
    assert service.served.get("/api/v1/users", method="POST", body=body, key=service.key).status == 201
    assert queried(service.url, "SELECT email FROM users WHERE email LIKE 'ada@%'") == ["ada@example.org"]
    assert not (service.directory / ".hexapost" / "postgres").exists()


def test_serve_prints_no_admin_key_without_option(service: Service) -> None:
    service.served.base_url()
    assert "try:" not in service.served.output
    assert "API key" not in service.served.output
    assert not (service.directory / ".hexapost" / "admin.key").exists()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (HEAD + "a: b\r\n" * 10 + "\r\n", " 431 "),
        (f"{HEAD}a: {'b' * 1024}\r\n\r\n", " 431 "),
        (f"{HEAD}Content-Length: 1025\r\n\r\n", " 413 "),
        (f"{HEAD}X-API-Key: KEY\r\nConnection: close\r\nContent-Length: 6\r\n\r\n[[[]]]", "2 levels"),
    ],
    ids=["headers", "header bytes", "body bytes", "JSON depth"],
)
def test_serve_applies_configured_limit(service: Service, request_: str, expected: str) -> None:
    assert expected in service.exchange(request_.replace("KEY", service.key))


def test_serve_ignores_upgrade_offers(service: Service) -> None:
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    body = '{"email": "upgrade@example.org"}'
    post = f"{HEAD}{offer}X-API-Key: {service.key}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    last = f"GET /livez HTTP/1.1\r\nHost: x\r\n{offer}Connection: close\r\n\r\n"
    response = service.exchange(post[:-5], post[-5:], last)
    assert re.findall(r"HTTP/1\.1 (\d+)", response) == ["201", "200"]
    assert "WebSocket" not in service.served.output


async def test_serve_finishes_or_rejects_open_requests_on_sigterm(service: Service, tmp_path: Path) -> None:
    probe = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    variables = {"DATABASE_URL": rendered(service.url), "HEXAPOST_BODY_TIMEOUT_SECONDS": "600"}
    with serving(tmp_path, HEXAPOST_STATE_DIRECTORY=str(service.directory / ".hexapost"), **variables) as served:
        address = served.address()
        idle, half_head, half_body = Connection(*address), *[await asyncio.open_connection(*address) for _ in range(2)]
        assert (await idle.exchange(probe, seconds=PATIENCE)).status == 200
        half_head[1].write(probe[:10])
        body = f"{HEAD}X-API-Key: {service.key}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        half_body[1].write(body.encode())
        assert b"100 Continue" in await asyncio.wait_for(half_body[0].readuntil(b"\r\n\r\n"), PATIENCE)
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            while (response := await idle.exchange(probe, seconds=PATIENCE)).status == 200:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.01)
        assert (response.status, response.headers["connection"]) == (503, "close")
        assert json.loads(response.body)["components"]["service"] == {"ready": False, "detail": "draining"}
        for reader, writer in (half_head, half_body):
            assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 408")
            writer.close()
        assert await asyncio.to_thread(served.process.wait, PATIENCE) == 0
        (line,) = [event for event in served.events("request") if event["method"] == "POST"]
    assert (line["status"], line["route"]) == (408, "/api/v1/users")
    assert "Traceback" not in served.output


def test_serve_responds_to_client_that_is_still_sending(service: Service) -> None:
    with pytest.raises(HTTPError, match="413"):
        service.served.get("/api/v1/users", method="POST", body=b"x" * 3_000_000, key=service.key)


def test_serve_responds_to_half_closed_client(service: Service) -> None:
    body = '{"email": "half@example.org"}'
    with socket.create_connection(service.served.address(), timeout=PATIENCE) as client:
        client.sendall(f"{HEAD}X-API-Key: {service.key}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 201 Created\r\n")


async def test_serve_ignores_sighup(service: Service) -> None:
    body = b'{"email": "sighup@example.org"}'
    head = f"{HEAD}X-API-Key: {service.key}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    reader, writer = await asyncio.open_connection(*service.served.address())
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b" 100 Continue\r\n\r\n")
        service.served.process.send_signal(signal.SIGHUP)
        event = "SIGHUP ignored; a rolling restart needs --workers 2 or more"
        await asyncio.to_thread(wait_until, lambda: service.served.events(event))
        writer.write(body)
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 201 Created\r\n"
    writer.close()


def test_serve_writes_log_lines_after_blocked_stderr_is_read(service: Service, tmp_path: Path) -> None:
    with (
        blocked_pipe() as (reader, writer),
        serving_with_stderr(writer, tmp_path, DATABASE_URL=rendered(service.url)) as served,
    ):
        os.close(writer)
        sent = [served.get("/livez").headers["X-Request-ID"] for _ in range(10)]
        text = b""
        while text.count(sent[-1].encode()) == 0:
            assert select.select([reader], [], [], PATIENCE)[0]
            text += os.read(reader, 65536)
        assert [json.loads(line)["request_id"] for line in text.split()] == sent
        assert served.stop(signal.SIGTERM) == 0


def test_serve_ends_with_parent_process(tmp_path: Path, service: Service) -> None:
    script = f"""
import os, subprocess, sys
command = {[*COMMAND, "serve", "--port", "0", "--exit-with-parent"]!r}
child = subprocess.Popen([*command, str(os.getpid())], stdin=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(DATABASE_URL=rendered(service.url)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert any("documentation at" in line for line in parent.stdout)
        parent.terminate()
    if sys.platform == "linux":
        wait_until(lambda: not is_alive(child))
    else:
        os.kill(child, signal.SIGTERM)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is a system call of Linux")
def test_stop_with_parent_exits_when_parent_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", Mock())  # the test process must not end with its parent
    with pytest.raises(SystemExit):
        worker_process.exit_with_parent(os.getpid())  # no process is its own parent
