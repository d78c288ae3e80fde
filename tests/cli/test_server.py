"""Tests for the server of one process, and for errors when it starts or ends."""

import asyncio
import gc
import io
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import make_url

from adapters.observability.logging import configure_logs
from adapters.postgres.pool import Database
from adapters.postgres.schema.readiness import ReadinessMonitor
from adapters.server.uvicorn_server import ACCEPTS_PER_ITERATION, Server, bound_sockets, create_server
from adapters.settings import Settings
from tests.http.support import serving
from tests.support.polling import TIMEOUT_SECONDS

LOOPBACKS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
NOWHERE = make_url("postgresql+asyncpg://localhost/nowhere")
SECRET = "permission denied for table s3cret\nDETAIL: s3cret"  # noqa: S105 - a message of a database

pytestmark = pytest.mark.usefixtures("restored_logs", "restored_garbage_collector")
Serve = Callable[..., int]


async def _succeed(_: object) -> None:
    """Do nothing."""


async def _fail(_: object) -> None:
    raise RuntimeError(SECRET) from ValueError(SECRET)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A function that serves without a database until its argument returns, and returns the exit status."""
    monkeypatch.setattr(ReadinessMonitor, "check", _succeed)
    monkeypatch.setattr(Database, "close", _succeed)

    def serve(when_started: Callable[[Server], Awaitable[None]], port: int = 0) -> int:
        async def on_started(server: Server) -> None:
            await when_started(server)
            server.should_exit = True

        settings = Settings(database_url=NOWHERE, state_directory=tmp_path)
        with bound_sockets("127.0.0.1", port) as sockets:
            return create_server(settings, on_started).serve_until_signal(sockets)

    return serve


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("phase", ["start", "end"])
def test_lifespan_error_is_logged_without_message_or_traceback(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, log_format: Literal["json", "console"], phase: str
) -> None:
    if phase == "start":
        monkeypatch.setattr(ReadinessMonitor, "check", _fail)
    else:
        monkeypatch.setattr(Database, "close", _fail)
    stream = io.StringIO()
    configure_logs(level="debug", log_format=log_format, stream=stream)
    assert serve(_succeed) == (1 if phase == "start" else 0)
    log = stream.getvalue()
    assert "s3cret" not in log
    assert "permission" not in log
    assert "Traceback" not in log
    first, *more = log.splitlines()
    assert f"{'startup' if phase == 'start' else 'shutdown'} failed" in first
    assert "builtins.RuntimeError from builtins.ValueError" in log
    assert "Exiting" in more[-1]
    if log_format == "json":
        assert json.loads(first)["traceback"][-1].endswith("_fail")


async def test_error_of_the_embedding_application_propagates() -> None:
    with pytest.raises(KeyError):
        async with serving():
            raise KeyError


def test_server_accepts_many_connections_per_iteration(serve: Serve) -> None:
    connections, iterations = 3 * ACCEPTS_PER_ITERATION, 0

    async def connect(server: Server) -> None:
        nonlocal iterations
        address = server.servers[0].sockets[0].getsockname()
        clients = [socket.create_connection(address, TIMEOUT_SECONDS) for _ in range(connections)]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(server.server_state.connections) < connections:
                await asyncio.sleep(0)
                iterations += 1
        for client in clients:
            client.close()

    assert serve(connect) == 0
    assert 0 < iterations < connections / 4


def test_ipv6_wildcard_accepts_ipv4() -> None:
    with bound_sockets("::", 0) as (listener,):
        listener.listen()
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listener.getsockname()[1]), TIMEOUT_SECONDS).close()


def test_server_raises_when_another_service_listens_since_the_bind(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:

        async def listen(_: object) -> None:
            other.listen()

        monkeypatch.setattr(ReadinessMonitor, "check", listen)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: address already in use"):
            serve(_succeed, port)


def test_sockets_of_both_wildcards_can_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    wildcards = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 - the addresses of the host `*`
    addresses = [(family, socket.SOCK_STREAM, 0, "", (host, 0)) for family, host in wildcards]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    with bound_sockets("*", 0) as sockets:
        for listener in sockets:
            listener.listen()


def test_sockets_of_several_addresses_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [(family, socket.SOCK_STREAM, 0, "", (host, 0)) for family, host in LOOPBACKS]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    with bound_sockets("localhost", 0) as sockets:
        monkeypatch.undo()
        assert [bound.getsockname()[0] for bound in sockets] == [host for _, host in LOOPBACKS]
        assert len({bound.getsockname()[1] for bound in sockets}) == 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(sockets[0].getsockname(), TIMEOUT_SECONDS)


def test_server_start_freezes_existing_objects(serve: Serve) -> None:
    gc.unfreeze()
    assert gc.get_freeze_count() == 0
    assert serve(_succeed) == 0
    assert gc.get_freeze_count() > 0.9 * len(gc.get_objects())


def test_server_start_makes_full_collections_rare(serve: Serve) -> None:
    assert serve(_succeed) == 0
    gc.collect()
    before = gc.get_stats()[2]["collections"]
    alive = [[number] for number in range(100_000)]
    assert gc.get_stats()[2]["collections"] == before
    assert gc.get_stats()[0]["collections"] > 0
    assert len(alive) == 100_000
