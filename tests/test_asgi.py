"""Tests for the application factory, in ASGI servers other than `hexapost serve` and in a test of a user."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import URL

from adapters.asgi import create_app
from adapters.settings import Settings, SettingsError
from tests.cli.support import PATIENCE, create_api_key, environment, rendered, wait_until

FACTORY = "adapters.asgi:create_app"
SERVERS = {
    "uvicorn": ["uvicorn", "--factory", FACTORY, "--uds"],
    "granian": ["granian", "--interface", "asgi", "--factory", FACTORY, "--access-log", "--uds"],
}


@contextmanager
def _started(server: str, directory: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Start a server on a socket in the directory, and yield its process and a client."""
    path = str(directory / "socket")
    with (directory / "output").open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - a tool of the project
            [sys.executable, "-m", *SERVERS[server], path],
            cwd=directory,
            env=environment(**variables),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    transport = httpx.HTTPTransport(uds=path)
    try:
        with httpx.Client(transport=transport, base_url="http://hexapost.test", timeout=PATIENCE) as client:
            yield process, client
    finally:
        process.kill()
        process.wait(PATIENCE)


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_factory_serves_in_asgi_server(server: str, tmp_path: Path, scratch: URL) -> None:
    variables = {"DATABASE_URL": rendered(scratch), "HEXAPOST_LOG_FORMAT": "json"}
    key = create_api_key(tmp_path, DATABASE_URL=variables["DATABASE_URL"])
    with _started(server, tmp_path, **variables) as (process, client):
        wait_until(lambda: _is_listening(tmp_path / "socket") or process.poll() is not None)
        client.headers["Authorization"] = f"Bearer {key}"
        created = client.post("/api/v1/users", json={"email": "ada@example.org"}, headers={"Idempotency-Key": "one"})
        assert created.status_code == 201
        assert client.head(created.headers["location"]).headers["etag"] == created.headers["etag"]
        assert client.get("/api/v1/posts/", params={"q": "s3cret"}).json()["items"] == []
        assert client.post("/api/v1/users", content=b"x" * 65_537).status_code == 413
        body = {"name": "K", "scopes": ["users:write"], "user_id": created.json()["id"]}
        bound = {"Authorization": f"Bearer {client.post('/api/v1/api-keys', json=body).json()['key']}"}
        assert client.delete(created.headers["location"], headers=bound).status_code == 204
        assert client.delete(created.headers["location"], headers=bound).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in {0, -signal.SIGTERM}  # uvicorn raises the signal again
    output = (tmp_path / "output").read_text()
    requests = [json.loads(line) for line in output.splitlines() if '"event":"request"' in line]
    assert [(line["method"], line["status"]) for line in requests] == [
        ("POST", 201),
        ("HEAD", 200),
        ("GET", 200),
        ("POST", 413),
        ("POST", 201),
        ("DELETE", 204),
        ("DELETE", 401),
    ]
    assert "s3cret" not in output
    assert "Traceback" not in output


@pytest.fixture
def unset_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all settings from the environment, and use an empty working directory."""
    for name in os.environ:
        if name.startswith(("HEXAPOST_", "DATABASE_URL")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("unset_settings")
async def test_factory_uses_given_settings_without_environment(scratch: URL, tmp_path: Path) -> None:
    before = structlog.get_config(), logging.getLogger().handlers[:]
    app: FastAPI = create_app(Settings(database_url=scratch, state_directory=tmp_path / "state"))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/readyz")).json()["status"] == "ready"
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["cursor.secret", "key.pepper"]
    assert (structlog.get_config(), logging.getLogger().handlers[:]) == before


@pytest.mark.usefixtures("unset_settings", "restored_logs")
@pytest.mark.parametrize("settings", [None, Settings()], ids=["environment", "argument"])
def test_factory_rejects_missing_database_url(settings: Settings | None) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        create_app(settings)
