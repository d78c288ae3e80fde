"""The time that a request has: for its body, and for its answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from fastapi import Response
from starlette.responses import StreamingResponse
from starlette.types import Message

from adapters.http.limits import RequestLimits
from tests.http.support import AUTHORIZATION, Api, call, serving

TYPE = (b"content-type", b"application/json")
LENGTH = (b"content-length", b"100")
CHUNKED = (b"transfer-encoding", b"chunked")
QUICK = RequestLimits(body_timeout=0, request_timeout=0)
"""No time at all: nothing on the way to an endpoint waits here, so the endpoint has begun when the time is up."""
PATIENCE = 30.0
PIECE: Message = {"type": "http.request", "body": b"{", "more_body": True}
WHOLE: Message = {"type": "http.request", "body": b'{"email": "ada@example.org"}'}


class Client:
    """Sends these messages, and nothing more; keeps what it gets."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.sent: list[Message] = []
        self.waits = asyncio.Event()

    async def receive(self) -> Message:
        if not self._messages:
            self.waits.set()
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def answer(self) -> tuple[int, str, dict[bytes, bytes]]:
        """The status, the type of problem and the headers."""
        problem = json.loads(b"".join(message["body"] for message in self.sent[1:]))
        return self.sent[0]["status"], problem["type"], dict(self.sent[0]["headers"])


def request(api: Api, client: Client, method: str, path: str, *headers: tuple[bytes, bytes]) -> Awaitable[None]:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "root_path": "",
        "headers": [*headers, AUTHORIZATION],
    }
    return asyncio.wait_for(api.app(scope, client.receive, client.send), PATIENCE)


def add(api: Api, endpoint: Callable[[], Awaitable[Response]]) -> None:
    api.app.add_api_route("/slow", endpoint, methods=["GET", "POST"])


@pytest.mark.parametrize("header", [LENGTH, CHUNKED])
@pytest.mark.parametrize("messages", [[], [PIECE]])
async def test_body_that_does_not_come(messages: list[Message], header: tuple[bytes, bytes]) -> None:
    async with serving(limits=RequestLimits(body_timeout=0.05)) as api:
        client = Client(*messages)
        await request(api, client, "POST", "/api/v1/users", TYPE, header)
        status, kind, headers = client.answer
        assert (status, kind, headers[b"connection"]) == (408, "/problems/request-timeout", b"close")
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"x-request-id"].decode() == api.log[-1]["request_id"]
        assert (api.log[-1]["status"], api.log[-1]["route"]) == (408, "/api/v1/users")


async def test_body_has_its_own_time() -> None:
    """The time of the answer begins when the body is there, whatever that took."""
    started = asyncio.get_running_loop().time()
    async with serving(limits=RequestLimits(body_timeout=0.3, request_timeout=0.001)) as api:
        client = Client()
        await request(api, client, "POST", "/api/v1/users", TYPE, LENGTH)
        assert client.answer[0] == 408
    assert asyncio.get_running_loop().time() - started >= 0.29


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_answer_that_is_not_made_in_time(method: str) -> None:
    ended: list[str] = []

    async def slow() -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")
        return Response()

    async with serving(limits=QUICK) as api:
        add(api, slow)
        client = Client(WHOLE)
        await request(api, client, method, "/slow", LENGTH)
        status, kind, headers = client.answer
        assert (status, kind, headers[b"retry-after"]) == (503, "/problems/database-unavailable", b"5")
        assert b"connection" not in headers
        assert (ended, api.log[-1]["status"]) == (["ended"], 503)


async def test_work_that_does_not_give_in_is_cancelled_again() -> None:
    hidden: list[int] = []

    async def stubborn() -> Response:
        for number in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                hidden.append(number)
        await asyncio.Event().wait()
        return Response()

    async with serving(limits=QUICK) as api:
        add(api, stubborn)
        client = Client()
        task = asyncio.ensure_future(request(api, client, "GET", "/slow"))
        await task
        assert (client.answer[0], hidden) == (503, [0, 1])


async def test_failure_to_end_is_the_same_to_the_outside() -> None:
    async def broken() -> Response:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError from None
        return Response()

    async with serving(limits=QUICK) as api:
        add(api, broken)
        client = Client()
        await request(api, client, "GET", "/slow")
        assert client.answer[0] == 503


async def test_response_that_has_begun_breaks_off() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    async def endless() -> Response:
        return StreamingResponse(pieces())

    async with serving(limits=QUICK) as api:
        add(api, endless)
        client = Client()
        await request(api, client, "GET", "/slow")
        assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]
        assert api.log[-1]["status"] == 200


async def test_a_task_that_was_in_time_is_not_cancelled_later() -> None:
    async with serving(limits=QUICK) as api:
        assert (await call(api.app, "GET", "/livez")).status == 200
        await asyncio.sleep(0.15)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


@pytest.mark.parametrize(("messages", "status"), [([PIECE], 408), ([WHOLE], 503)])
async def test_cancelled_from_outside(messages: list[Message], status: int) -> None:
    async def slow() -> Response:
        client.waits.set()
        await asyncio.Event().wait()
        return Response()

    async with serving() as api:
        add(api, slow)
        client = Client(*messages)
        path = "/api/v1/users" if status == 408 else "/slow"
        task = asyncio.ensure_future(request(api, client, "POST", path, TYPE, LENGTH))
        await client.waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (client.answer[0], api.log[-1]["status"]) == (status, status)
