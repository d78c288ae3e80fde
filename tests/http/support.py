"""The application over storage in memory, and what its answers have in common."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Self
from uuid import UUID

import httpx
from fastapi import FastAPI
from starlette.types import Message

from adapters.http.app import create_app
from adapters.http.context import Component, HttpOptions, Services
from adapters.http.limits import RequestLimits
from adapters.memory.storage import InMemoryStorage
from application.credentials import key_text
from application.ports import Storage, UnitOfWork
from application.transactions import Retry
from domain.keys import ApiKey, Scope
from tests.support.services import PEPPERS, START, authenticator, key_service, post_service, user_service

SECRET = b"a secret of thirty-two characters"
NOBODY = "0198a3c4-6f2b-7d31-a6f0-000000000000"
ADA = {"email": "ada@example.org", "full_name": "Ada Lovelace"}

ADMIN_ID = UUID("0198a3c7-2b51-7e04-8d3a-94c1f0b27e58")
ADMIN_KEY = key_text(ADMIN_ID, "0" * 32)
"""A key with every scope, in every application of these tests."""

AUTHORIZATION = (b"authorization", f"Bearer {ADMIN_KEY}".encode())

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

    async def key(self, *scopes: Scope, user_id: str | None = None, **fields: Any) -> str:
        """Create a key, and return its text."""
        given = {"name": "a key", "scopes": scopes, "user_id": user_id, **fields}
        response = await self.client.post("/api/v1/api-keys", json=given)
        assert response.status_code == 201, response.text
        return str(response.json()["key"])

    async def post(self, author: Json, **fields: Any) -> Json:
        """Write a post."""
        given = {"author_id": author["id"], "title": "Notes", "content": "On the engine.", **fields}
        response = await self.client.post("/api/v1/posts", json=given)
        assert response.status_code == 201, response.text
        found: Json = response.json()
        return found


@asynccontextmanager
async def serving(
    storage: Storage | None = None, *, secret: bytes = SECRET, limits: RequestLimits | None = None, **options: Any
) -> AsyncIterator[Api]:
    """Serve over the storage, or over a new one in memory; over one that fails, keys are still found."""
    storage = storage or InMemoryStorage()
    keys = InMemoryStorage() if isinstance(storage, FailingStorage) else storage
    await store_key(keys, ADMIN_ID, ADMIN_KEY)
    components = {"database": Component(ready=True, detail="answers")}
    log: list[Json] = []

    async def readiness() -> Mapping[str, Component]:
        return components

    def write(event: str, /, **fields: object) -> None:
        log.append({"event": event, **fields})

    impatient = Retry(deadline=0)
    knows = authenticator(keys, retry=impatient)
    services = Services(
        users=user_service(storage, retry=impatient),
        posts=post_service(storage, retry=impatient),
        keys=key_service(storage, retry=impatient, authenticator=knows),
        authenticator=knows,
        readiness=readiness,
    )
    chosen = HttpOptions(
        version=version("hexapost"),
        cursor_secret=secret,
        limits=limits or RequestLimits(),
        access_log=write,
        **options,
    )
    app = create_app(services, chosen)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://hexapost.test", headers=headers) as client,
    ):
        yield Api(app=app, client=client, storage=storage, log=log, components=components)
    await knows.close()


async def store_key(storage: Storage, key_id: UUID, text: str) -> None:
    """Store a key with every scope, unless it is there."""
    key = ApiKey.created(
        id=key_id,
        name="admin",
        scopes=Scope,
        user_id=None,
        secret=PEPPERS.hashed(text),
        expires_at=None,
        now=START,
    )
    async with storage.transaction() as work:
        await work.keys.add(key)


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
    key: str | None = ADMIN_KEY,
) -> RawResponse:
    """Call the application as a server would, with these messages to receive, and with a key."""
    authorization = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
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
        "headers": [*headers, *authorization],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    return RawResponse(sent)
