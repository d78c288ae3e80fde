"""The application over storage in memory, and what its answers have in common."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from fastapi import FastAPI
from starlette.types import Message

from adapters.http.app import Component, HttpOptions, Services, create_app
from adapters.http.limits import RequestLimits
from adapters.memory.storage import InMemoryStorage
from application.ports import Storage, UnitOfWork
from application.transactions import Retry
from tests.support.services import post_service, user_service

SECRET = b"a secret of thirty-two characters"
NOBODY = "0198a3c4-6f2b-7d31-a6f0-000000000000"
ADA = {"email": "ada@example.org", "full_name": "Ada Lovelace"}

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Api:
    """An application, a client of it, and what it wrote into its access log."""

    app: FastAPI
    client: httpx.AsyncClient
    storage: Storage
    log: list[Json]
    components: dict[str, Component] = field(default_factory=dict)

    async def user(self, **fields: Any) -> Json:
        """Register a user."""
        response = await self.client.post("/api/v1/users", json={**ADA, **fields})
        assert response.status_code == 201, response.text
        found: Json = response.json()
        return found

    async def post(self, author: Json, **fields: Any) -> Json:
        """Write a post."""
        given = {"author_id": author["id"], "title": "Notes", "content": "On the engine.", **fields}
        response = await self.client.post("/api/v1/posts", json=given)
        assert response.status_code == 201, response.text
        found: Json = response.json()
        return found


@asynccontextmanager
async def serving(
    storage: Storage | None = None, *, secret: bytes = SECRET, limits: RequestLimits | None = None
) -> AsyncIterator[Api]:
    """Serve over the storage, or over a new one in memory."""
    storage = storage or InMemoryStorage()
    components = {"database": Component(ready=True, detail="answers")}
    log: list[Json] = []

    async def readiness() -> Mapping[str, Component]:
        return components

    def write(event: str, /, **fields: object) -> None:
        log.append({"event": event, **fields})

    impatient = Retry(deadline=0)
    services = Services(
        users=user_service(storage, retry=impatient), posts=post_service(storage, retry=impatient), readiness=readiness
    )
    app = create_app(services, HttpOptions(cursor_secret=secret, limits=limits or RequestLimits(), access_log=write))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hexapost.test") as client:
        yield Api(app=app, client=client, storage=storage, log=log, components=components)


class FailingStorage(Storage):
    """Storage whose every unit of work fails in the same way."""

    def __init__(self, make: Callable[[], Exception]) -> None:
        self._make = make

    def transaction(self) -> "FailingWork":
        return FailingWork(self._make())

    def readonly(self) -> "FailingWork":
        return FailingWork(self._make())


class FailingWork(UnitOfWork):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __aenter__(self) -> Self:
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        """Never reached."""


def check_problem(response: httpx.Response, status: int, code: str) -> Json:
    """Check that the response reports this problem as all are reported, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem: Json = response.json()
    assert problem["type"] == f"/problems/{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["instance"] == f"urn:hexapost:request:{problem['request_id']}"
    return problem


def findings(response: httpx.Response) -> list[tuple[str | None, str]]:
    """Return where and what a validation problem found, after checking that it is one."""
    problem = check_problem(response, 422, "validation-failed")
    for error in problem.get("errors", []):
        assert error["detail"]
    return [(error.get("pointer", error.get("parameter")), error["code"]) for error in problem.get("errors", [])]


@dataclass(frozen=True)
class RawResponse:
    """What an application sent in answer to one raw ASGI call."""

    messages: list[Message]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode("latin-1") for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])


async def call(
    app: FastAPI,
    method: str,
    path: str,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    query: bytes = b"",
    received: Sequence[Message] = ({"type": "http.request", "body": b"", "more_body": False},),
) -> RawResponse:
    """Call the application as a server would, with these messages to receive."""
    waiting = list(received)
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    return RawResponse(sent)
