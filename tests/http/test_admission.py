"""Load shedding: what is refused when as many requests are in work as may be, how, and what never is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from fastapi import Request, Response

from adapters.http.admission import MORE_FOR_METRICS, Admission
from adapters.memory.storage import InMemoryStorage
from adapters.system import new_id
from application.credentials import key_text, new_secret
from application.ports import Storage, UnitOfWork
from tests.http.credentials import bearer
from tests.http.support import ADA, Api, check_problem, serving
from tests.http.wires import CHUNKED, GET, PATIENCE, POST, Wire, listening
from tests.support.waiting import until

MOST = 2


@asynccontextmanager
async def busy(api: Api, requests: int = 2) -> AsyncIterator[None]:
    """Have so many requests in work for as long as the block."""
    begun, done = asyncio.Semaphore(0), asyncio.Event()

    async def slow() -> Response:
        begun.release()
        await done.wait()
        return Response()

    path = f"/slow-{len(api.app.routes)}"
    api.app.add_api_route(path, slow)
    tasks = [asyncio.ensure_future(api.client.get(path)) for _ in range(requests)]
    for _ in tasks:
        await begun.acquire()
    try:
        yield
    finally:
        done.set()
        assert {response.status_code for response in await asyncio.gather(*tasks)} == {200}


async def test_one_request_more_than_there_may_be() -> None:
    async with serving(admission=Admission(MOST)) as api:
        async with busy(api):
            for method in ("GET", "POST"):
                response = await api.client.request(method, "/api/v1/users", json=ADA)
                problem = check_problem(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
                assert response.headers["x-content-type-options"] == "nosniff"
                assert "connection" not in response.headers
                assert (api.log[-1]["status"], api.log[-1]["request_id"]) == (503, problem["request_id"])
                assert list(problem) == ["type", "title", "status", "detail", "instance", "request_id"]
            assert (await api.client.head("/api/v1/users")).content == b""
            assert (await api.client.get("/docs")).status_code == 503
        await api.user()
        assert (await api.client.get("/docs")).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/livez/"])
async def test_probes_are_never_refused(path: str) -> None:
    async with serving(admission=Admission(MOST)) as api, busy(api):
        assert (await api.client.get(path)).status_code == 200


async def test_whatever_became_of_them_requests_make_room() -> None:
    async def broken() -> Response:
        raise RuntimeError

    async with serving(admission=Admission(MOST)) as api:
        api.app.add_api_route("/broken", broken)
        for _ in range(5):
            assert (await api.client.get("/broken")).status_code == 500
            assert (await api.client.post("/api/v1/users", content=b"{")).status_code == 415
            assert (await api.client.post("/api/v1/users", content=b"x" * 100_000)).status_code == 413
        async with busy(api):
            check_problem(await api.client.get("/api/v1/users"), 503, "overloaded")


async def test_half_bodies_take_no_room() -> None:
    admission = Admission(MOST)
    async with listening(admission=admission) as wire:
        writers = [(await wire.open())[1] for _ in range(5)]
        for number, writer in enumerate(writers, start=1):
            writer.write(POST + b"Content-Length: 99\r\n\r\n{")
            await until(lambda number=number: (len(wire.state.tasks), admission.in_work) == (number, 0))  # type: ignore[misc]
        await wire.api.user()
        async with busy(wire.api):
            check_problem(await wire.api.client.get("/api/v1/users"), 503, "overloaded")
        for writer in writers:
            writer.close()
        await until(lambda: not wire.state.tasks)
        async with busy(wire.api):
            check_problem(await wire.api.client.get("/api/v1/users"), 503, "overloaded")


async def test_the_connection_goes_on_unless_the_body_may_be_endless() -> None:
    async with listening(admission=Admission(MOST)) as wire, busy(wire.api):
        assert await _answers(wire, POST + b"Content-Length: 2\r\n\r\n{}" + GET + b"Connection: close\r\n\r\n") == 2
        assert await _answers(wire, CHUNKED + b"2\r\n{}\r\n") == 1


async def _answers(wire: Wire, sent: bytes) -> int:
    reader, writer = await wire.open()
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 503")
    return answer.count(b"HTTP/1.1 ")


class HeldStorage(Storage):
    """Lets readers wait until it `answers`, and counts them."""

    def __init__(self) -> None:
        self._storage = InMemoryStorage()
        self.answers = asyncio.Event()
        self.asked = 0

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._storage.transaction()

    @asynccontextmanager
    async def readonly(self) -> AsyncIterator[UnitOfWork]:
        self.asked += 1
        await self.answers.wait()
        async with self._storage.readonly() as work:
            yield work


async def test_a_few_more_may_ask_for_the_metrics() -> None:
    """But not any number: a key that was made up has to be looked for as every other."""
    storage = HeldStorage()
    async with serving(storage, admission=Admission(MOST)) as api, busy(api):
        forged = [bearer(key_text(new_id(), new_secret())) for _ in range(MORE_FOR_METRICS)]
        tasks = [asyncio.ensure_future(api.client.get("/metrics", headers=key)) for key in forged]
        await until(lambda: storage.asked == MORE_FOR_METRICS)
        for path in ("/metrics", "/metrics/"):
            check_problem(await api.client.get(path), 503, "overloaded")
        assert (await api.client.get("/livez")).status_code == 200
        assert storage.asked == MORE_FOR_METRICS
        storage.answers.set()
        assert {response.status_code for response in await asyncio.gather(*tasks)} == {401}
        assert (await api.client.get("/metrics/")).status_code == 200
        check_problem(await api.client.get("/api/v1/users"), 503, "overloaded")


async def test_bodies_that_come_all_at_once() -> None:
    """What waited for its body, and took no room, has to find some when it goes on."""
    admission, come, done = Admission(MOST), asyncio.Event(), asyncio.Event()
    waiting: list[int] = []
    at_work: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        waiting.append(admission.in_work)
        await come.wait()
        yield b"}"

    async def keep(request: Request) -> Response:
        await request.body()
        at_work.append(admission.in_work)
        await done.wait()
        return Response()

    async with serving(admission=admission) as api:
        api.app.add_api_route("/keep", keep, methods=["POST"])
        tasks = [asyncio.ensure_future(api.client.post("/keep", content=body())) for _ in range(5 * MOST)]
        await until(lambda: len(waiting) == len(tasks))
        assert set(waiting) == {0}
        come.set()
        await until(lambda: sum(task.done() for task in tasks) == len(tasks) - MOST)
        assert at_work == [1, MOST]
        for task in tasks:
            if task.done():
                response = await task
                check_problem(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
                assert "connection" not in response.headers
        assert {(event["status"], event["route"]) for event in api.log} == {(503, "/keep")}
        done.set()
        responses = await asyncio.gather(*tasks)
        assert sum(response.status_code == 200 for response in responses) == MOST
    assert admission.in_work == 0
