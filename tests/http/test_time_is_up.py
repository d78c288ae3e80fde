"""What becomes of a request that has no time left, its own or that of the server."""

import asyncio
import json

import pytest
from fastapi import Request, Response
from starlette.types import Message

from adapters.http.admission import Admission
from adapters.http.limits import RequestLimits
from adapters.http.problems import REJECTIONS
from adapters.telemetry.metrics import Metrics
from tests.http.support import Api, Json, serving
from tests.support.waiting import LONGEST, until
from tests.telemetry.scrapes import Scrape

METHODS = [("GET", True), ("POST", False), ("PATCH", False), ("DELETE", False)]


class Client:
    """Sends a request whose body is there when `has_sent`, and takes the answer when `reads`."""

    def __init__(self, api: Api, method: str, path: str) -> None:
        self._api = api
        self._scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-length", b"2")],
        }
        self._sent: list[Message] = []
        self.has_sent, self.reads = asyncio.Event(), asyncio.Event()
        self.is_offered = False
        self.has_sent.set()
        self.reads.set()

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._api.app(self._scope, self._receive, self._send))

    async def _receive(self) -> Message:
        await self.has_sent.wait()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def _send(self, message: Message) -> None:
        self.is_offered = True
        await self.reads.wait()
        self._sent.append(message)

    @property
    def problem(self) -> Json:
        found: Json = json.loads(self._sent[1]["body"])
        assert found["status"] == self._sent[0]["status"] == self._api.log[-1]["status"]
        return found


def work_without_end(api: Api) -> asyncio.Event:
    """Add an operation that reads its body and does not end; what is returned tells when it has begun."""
    begun = asyncio.Event()

    async def work(request: Request) -> Response:
        await request.body()
        begun.set()
        await asyncio.Event().wait()
        return Response()

    api.app.add_api_route("/work", work, methods=[method for method, _ in METHODS])
    return begun


def rejected(metrics: Metrics) -> dict[str, float]:
    found = Scrape(metrics.exposition().decode()).found("hexapost_rejections_total")
    return {sample.labels["reason"]: sample.value for sample in found if sample.value}


def made() -> Metrics:
    return Metrics(version="1", rejections=REJECTIONS)


@pytest.mark.parametrize(("method", "is_safe"), METHODS)
async def test_a_change_that_was_not_answered_in_time_may_have_been_made(method: str, is_safe: bool) -> None:
    metrics = made()
    async with serving(limits=RequestLimits(request_timeout=0.02), metrics=metrics) as api:
        work_without_end(api)
        client = Client(api, method, "/work")
        await client.start()
        assert client.problem["type"] == "/problems/database-unavailable"
        assert ("may have been carried out" in client.problem["detail"]) is not is_safe
        assert rejected(metrics) == {"deadline": 1}


@pytest.mark.parametrize(("method", "is_safe"), METHODS)
async def test_a_change_that_a_server_gives_up_when_it_stops_may_have_been_made(method: str, is_safe: bool) -> None:
    metrics = made()
    async with serving(metrics=metrics) as api:
        begun = work_without_end(api)
        client = Client(api, method, "/work")
        task = client.start()
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.problem["type"] == ("/problems/overloaded" if is_safe else "/problems/database-unavailable")
        assert ("may have been carried out" in client.problem["detail"]) is not is_safe
        assert rejected(metrics) == {"overloaded" if is_safe else "deadline": 1}


@pytest.mark.parametrize("most", [1, 0], ids=["answered", "refused"])
async def test_an_answer_that_nobody_reads_when_the_server_stops_is_not_sent_instead_of_another(most: int) -> None:
    async with serving(admission=Admission(most)) as api:
        client = Client(api, "GET", "/openapi.json")
        client.reads.clear()
        task = client.start()
        await until(lambda: client.is_offered)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, LONGEST)
        assert (api.log[-1]["status"], api.log[-1]["bytes"]) == (499, 0)


async def test_the_time_of_the_answer_begins_with_the_end_of_the_body_and_is_kept() -> None:
    limits = RequestLimits(body_timeout=600, request_timeout=0.02)
    async with serving(limits=limits) as api:
        begun = work_without_end(api)
        client = Client(api, "POST", "/work")
        client.has_sent.clear()
        task = client.start()
        await asyncio.sleep(5 * limits.request_timeout)
        assert not task.done()
        client.has_sent.set()
        await asyncio.wait_for(task, LONGEST)
        assert begun.is_set()
        assert client.problem["type"] == "/problems/database-unavailable"
