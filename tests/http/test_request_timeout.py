"""Tests for the time limits of bodies and responses, and for cancelled requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx
import pytest
from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Message

from adapters.http.middleware import request_limits
from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.request_limits import RequestLimits
from adapters.http.problems.catalog import REJECTIONS
from adapters.observability.metrics import Metrics
from tests.http.support import (
    AUTHORIZATION,
    CHUNKED,
    JSON_TYPE,
    Api,
    call,
    check_problem,
    response_of,
    scope_of,
    serving,
)
from tests.observability.prometheus_samples import Scrape
from tests.support.polling import TIMEOUT_SECONDS, wait_until

LENGTH = (b"content-length", b"100")
QUICK = RequestLimits(body_timeout=0, request_timeout=0)
"""The timeout expires when the endpoint waits for the first time: no code before it waits."""
PIECE: Message = {"type": "http.request", "body": b"{", "more_body": True}
WHOLE: Message = {"type": "http.request", "body": b'{"email": "ada@example.org"}'}
METHODS = [("GET", True), ("POST", False), ("PATCH", False), ("DELETE", False)]
UNCERTAIN = "may or may not be stored"


class Client:
    """Sends messages, and reads responses while `reads` is set."""

    def __init__(self, *messages: Message) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self.put(*messages)
        self.sent: list[Message] = []
        self.waits, self.is_offered, self.reads = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.reads.set()

    def put(self, *messages: Message) -> None:
        for message in messages:
            self._messages.put_nowait(message)

    async def receive(self) -> Message:
        if self._messages.empty():
            self.waits.set()
        return await self._messages.get()

    async def send(self, message: Message) -> None:
        self.is_offered.set()
        await self.reads.wait()
        self.sent.append(message)

    def check_problem(self, status: int, code: str) -> httpx.Response:
        """Check that the response is this problem, and return it."""
        response = response_of(self.sent)
        check_problem(response, status, code)
        return response


def start(api: Api, client: Client, method: str, path: str, *headers: tuple[bytes, bytes]) -> asyncio.Task[None]:
    scope = scope_of(method, path, headers=[*headers, AUTHORIZATION])
    return asyncio.create_task(api.app(scope, client.receive, client.send))


async def send(api: Api, method: str, path: str, *headers: tuple[bytes, bytes], body: Sequence[Message] = ()) -> Client:
    """Send a request with these messages, wait until it ends, and return its client."""
    client = Client(*body)
    await asyncio.wait_for(start(api, client, method, path, *headers), TIMEOUT_SECONDS)
    return client


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, TIMEOUT_SECONDS)


def add(api: Api, endpoint: Callable[..., Awaitable[Response]]) -> None:
    api.app.add_api_route("/slow", endpoint, methods=[method for method, _ in METHODS])


def add_endless(api: Api) -> list[str]:
    """Add an endpoint that does not return; return the list to which it adds its progress."""
    progress: list[str] = []

    async def endless(request: Request) -> Response:
        await request.body()
        progress.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            progress.append("ended")
        return Response()

    add(api, endless)
    return progress


def rejected(metrics: Metrics) -> dict[str, float]:
    found = Scrape(metrics.render().decode()).found("hexapost_http_requests_rejected_total")
    return {sample.labels["reason"]: sample.value for sample in found if sample.value}


@pytest.mark.parametrize("header", [LENGTH, CHUNKED])
@pytest.mark.parametrize("messages", [[], [PIECE]])
async def test_incomplete_body_returns_408(messages: list[Message], header: tuple[bytes, bytes]) -> None:
    loop = asyncio.get_running_loop()
    async with serving(limits=RequestLimits(body_timeout=0.05, request_timeout=0.001)) as api:
        started = loop.time()
        client = await send(api, "POST", "/api/v1/users", JSON_TYPE, header, body=messages)
        assert loop.time() - started >= 0.049
    response = client.check_problem(408, "request-timeout")
    assert response.headers["connection"] == "close"
    assert api.log[-1]["request_id"] == response.headers["x-request-id"]
    assert (api.log[-1]["status"], api.log[-1]["route"]) == (408, "/api/v1/users")


@pytest.mark.parametrize(("method", "is_safe"), METHODS)
async def test_endpoint_beyond_timeout_returns_503(method: str, is_safe: bool) -> None:
    metrics = Metrics(version="1", rejections=REJECTIONS)
    async with serving(limits=QUICK, metrics=metrics) as api:
        progress = add_endless(api)
        client = await send(api, method, "/slow", LENGTH, body=[WHOLE])
    response = client.check_problem(503, "database-unavailable")
    assert response.headers["retry-after"] == "5"
    assert "connection" not in response.headers
    assert (UNCERTAIN in response.text) is not is_safe
    assert (progress, api.log[-1]["status"], rejected(metrics)) == (["begun", "ended"], 503, {"deadline": 1})


async def test_request_timeout_starts_after_the_body() -> None:
    async with serving(limits=RequestLimits(body_timeout=600, request_timeout=0.01)) as api:
        progress = add_endless(api)
        client = Client()
        task = start(api, client, "POST", "/slow", LENGTH)
        await client.waits.wait()
        await asyncio.sleep(0.05)
        assert (task.done(), progress) == (False, [])
        client.put(WHOLE)
        await asyncio.wait_for(task, TIMEOUT_SECONDS)
        client.check_problem(503, "database-unavailable")
        assert progress == ["begun", "ended"]


async def test_suppressed_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "RECANCEL_INTERVAL_SECONDS", 0.01)
    suppressed: list[int] = []

    async def stubborn() -> Response:
        for number in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                suppressed.append(number)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError from None
        return Response()

    async with serving(limits=QUICK) as api:
        add(api, stubborn)
        (await send(api, "GET", "/slow")).check_problem(503, "database-unavailable")
        assert suppressed == [0, 1]


async def test_started_response_is_aborted_on_timeout() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async def endless() -> Response:
        return StreamingResponse(pieces())

    async with serving(limits=QUICK) as api:
        add(api, endless)
        client = await send(api, "GET", "/slow")
        assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]
        assert api.log[-1]["status"] == 200


async def test_timer_is_stopped_after_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "RECANCEL_INTERVAL_SECONDS", 0)
    async with serving(limits=QUICK) as api:
        assert (await call(api.app, "GET", "/livez")).status_code == 200
        for _ in range(5):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_cancelled_upload_returns_408(api: Api) -> None:
    client = Client(PIECE)
    task = start(api, client, "POST", "/api/v1/users", JSON_TYPE, LENGTH)
    await client.waits.wait()
    await cancel(task)
    client.check_problem(408, "request-timeout")
    assert api.log[-1]["status"] == 408


@pytest.mark.parametrize(("method", "is_safe"), METHODS)
async def test_cancelled_endpoint_returns_503(method: str, is_safe: bool) -> None:
    metrics = Metrics(version="1", rejections=REJECTIONS)
    async with serving(metrics=metrics) as api:
        progress = add_endless(api)
        client = Client(WHOLE)
        task = start(api, client, method, "/slow", LENGTH)
        await wait_until(lambda: bool(progress))
        await cancel(task)
    response = client.check_problem(503, "overloaded" if is_safe else "database-unavailable")
    assert api.log[-1]["status"] == 503
    assert (UNCERTAIN in response.text) is not is_safe
    assert rejected(metrics) == {"overloaded" if is_safe else "deadline": 1}


@pytest.mark.parametrize("capacity", [1, 0], ids=["accepted", "rejected"])
async def test_cancelled_response_is_logged_as_499(capacity: int) -> None:
    async with serving(admission=AdmissionController(capacity)) as api:
        client = Client()
        client.reads.clear()
        task = start(api, client, "GET", "/openapi.json")
        await client.is_offered.wait()
        await cancel(task)
        assert (api.log[-1]["status"], api.log[-1]["response_bytes"]) == (499, 0)
