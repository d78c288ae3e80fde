"""Tests for the server of one process."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from adapters.http.middleware.http_protocol import bounded_protocol
from adapters.http.middleware.request_limits import HeaderLimits
from adapters.server.uvicorn_server import ACCEPTS_PER_ITERATION, Server
from tests.support.polling import TIMEOUT_SECONDS


@pytest.fixture(autouse=True)
def _with_garbage_collected() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_server_accepts_many_connections_per_iteration() -> None:
    connections = 3 * ACCEPTS_PER_ITERATION
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_iterations_to_accept(connections)) < connections / 4


def test_server_start_freezes_existing_objects() -> None:
    gc.unfreeze()
    assert gc.get_freeze_count() == 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_start_and_stop())
    assert gc.get_freeze_count() > 0.9 * len(gc.get_objects())


def test_server_start_makes_full_collections_rare() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_start_and_stop())
    gc.collect()
    before = gc.get_stats()[2]["collections"]
    alive = [[number] for number in range(100_000)]
    assert gc.get_stats()[2]["collections"] == before
    assert gc.get_stats()[0]["collections"] > 0
    assert len(alive) == 100_000


async def _iterations_to_accept(number: int) -> int:
    async with _started() as server:
        clients = [socket.create_connection(server.address, TIMEOUT_SECONDS) for _ in range(number)]
        iterations = 0
        while len(server.server_state.connections) < number:
            await asyncio.sleep(0)
            iterations += 1
        for client in clients:
            client.close()
    return iterations


async def _start_and_stop() -> None:
    async with _started():
        pass


@asynccontextmanager
async def _started() -> AsyncIterator[Server]:
    """Start a server as `serve` does, without an application."""

    async def nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        """Return no response."""

    async def when_started(_: Server) -> None:
        """Ignore the start."""

    protocol = bounded_protocol(HeaderLimits())
    config = uvicorn.Config(nothing, port=0, http=protocol, ws="none", lifespan="off", log_config=None, backlog=2048)
    config.load()
    server = Server(config, None, when_started)  # type: ignore[arg-type]
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield server
    finally:
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
