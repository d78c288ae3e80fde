"""Tests for the export of all data about a user."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import pytest

from adapters.deadline_timer import DeadlineTimer
from adapters.http.middleware.request_context import RequestContext
from adapters.http.middleware.request_limits import RequestDeadline, RequestLimits
from adapters.memory.unit_of_work import InMemoryStorage, InMemoryUnitOfWork
from application.user_export import MAX_CONCURRENT_EXPORTS, PAGE_SIZE
from domain.api_keys import Scope
from tests.http.raw_connection import PATIENCE, RawConnection, listening
from tests.http.support import ADMIN_KEY, NOBODY, Api, Json, bearer, call, check_problem, serving, stored_key
from tests.support.factories import make_post, make_user, store
from tests.support.polling import wait_until

ENDED = b"0\r\n\r\n"


class PausedStorage(InMemoryStorage):
    """Calls `pause` before each page of posts in a snapshot. By default, it waits forever."""

    def __init__(self) -> None:
        super().__init__()
        self.pause: Callable[[], Awaitable[object]] = asyncio.Event().wait

    def snapshot(self) -> InMemoryUnitOfWork:
        work = super().snapshot()
        list_posts = work.posts.list

        async def paused(**arguments: object) -> object:
            await self.pause()
            return await list_posts(**arguments)  # type: ignore[arg-type]

        work.posts.list = paused  # type: ignore[assignment, method-assign]
        return work


def _request(user_id: object) -> bytes:
    return f"GET /api/v1/users/{user_id}/export HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\n\r\n".encode()


async def _paused_wire(
    wire: RawConnection, storage: PausedStorage
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Start an export, and read its first part."""
    await store(storage, user := make_user())
    reader, writer = await wire.open(_request(user.id))
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(user.email.encode()), PATIENCE)
    return reader, writer


@pytest.mark.parametrize("posts", [0, 1, 2 * PAGE_SIZE + 1])
async def test_export_equals_the_resources(api: Api, posts: int) -> None:
    user = await api.user()
    await store(api.storage, *[make_post(UUID(user["id"])) for _ in range(posts)])
    key = await api.key(Scope.POSTS_READ, user_id=user["id"])
    response = await api.client.get(f"/api/v1/users/{user['id']}/export")
    document: Json = response.json()
    assert (document["user"], len(document["posts"])) == (user, posts)
    for path, items in (("posts", document["posts"][:1]), ("api-keys", document["api_keys"])):
        assert [(await api.client.get(f"/api/v1/{path}/{item['id']}")).json() for item in items] == items
    assert [item["id"].replace("-", "") for item in document["api_keys"]] == [key.split("_")[1]]
    assert key.split("_")[2] not in response.text
    changes = (await api.client.get("/api/v1/audit", params={"limit": "100"})).json()["items"]
    assert len(document["audit_entries"]) == 1 + posts + 1
    assert document["audit_entries"][:100] == [entry for entry in changes if entry["user_id"] == user["id"]]
    assert response.headers["cache-control"] == "no-store"


async def test_key_of_a_user_exports_only_this_user(api: Api) -> None:
    ada, bob = await api.user(), await api.user(email="bob@example.org")
    key = await stored_key(api.storage, Scope.USERS_EXPORT, user_id=UUID(ada["id"]))
    response = await api.client.get(f"/api/v1/users/{ada['id']}/export", headers=bearer(key))
    assert response.json()["user"] == ada
    for user_id in (bob["id"], NOBODY):
        response = await api.client.get(f"/api/v1/users/{user_id}/export", headers=bearer(key))
        check_problem(response, 404, "user-not-found")


async def test_export_head_has_no_body(api: Api) -> None:
    user = await api.user()
    response = await api.client.head(f"/api/v1/users/{user['id']}/export")
    assert (response.status_code, response.content) == (200, b"")
    assert (await api.client.head(f"/api/v1/users/{NOBODY}/export")).status_code == 404


async def test_third_concurrent_export_returns_503() -> None:
    storage = PausedStorage()
    async with serving(storage) as api:
        user = await api.user()
        path = f"/api/v1/users/{user['id']}/export"
        paused = asyncio.Event()
        storage.pause = paused.wait
        active = [asyncio.create_task(api.client.get(path)) for _ in range(MAX_CONCURRENT_EXPORTS)]
        await wait_until(lambda: api.app.state.hexapost.use_cases.user_export._active == MAX_CONCURRENT_EXPORTS)
        response = await api.client.get(path)
        check_problem(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"
        paused.set()
        assert {(await task).json()["user"]["id"] for task in active} == {user["id"]}


async def test_error_during_export_ends_the_connection_early() -> None:
    storage = PausedStorage()

    async def fail() -> None:
        raise RuntimeError("s3cret")

    storage.pause = fail
    async with listening(storage=storage) as wire:
        reader, writer = await _paused_wire(wire, storage)
        rest = await asyncio.wait_for(reader.read(), PATIENCE)
        assert not rest.endswith(ENDED)
        assert b"s3cret" not in rest
        writer.close()


async def test_export_sets_its_own_deadline(api: Api) -> None:
    user, context = await api.user(), RequestContext()
    response = await call(api.app, "GET", f"/api/v1/users/{user['id']}/export", state={"request_context": context})
    assert (response.status_code, context.response_timeout) == (200, RequestLimits().export_timeout)


@pytest.mark.parametrize("is_sending", [False, True])
@pytest.mark.parametrize(("seconds", "is_over"), [(600.0, False), (0.001, True)])
async def test_deadline_uses_the_response_timeout(seconds: float, is_over: bool, is_sending: bool) -> None:
    context = RequestContext()
    context.is_sending, context.response_timeout = is_sending, seconds
    deadline = RequestDeadline(RequestLimits(request_timeout=0.001), context, timer := DeadlineTimer())
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(PATIENCE if is_over else 0.05)
    deadline.stop()
    timer.close()
    assert (deadline.problem is not None) is is_over


async def test_export_ends_at_its_own_deadline() -> None:
    storage = PausedStorage()
    await store(storage, user := make_user())
    async with listening(storage=storage, request=RequestLimits(request_timeout=0.01, export_timeout=0.05)) as wire:
        request = _request(user.id).replace(b"Host", b"Connection: close\r\nHost")
        assert b'"posts"' not in await wire.send_and_read(request)
        assert wire.api.app.state.hexapost.use_cases.user_export._active == 0


async def test_client_that_disconnects_ends_the_export() -> None:
    storage = PausedStorage()
    paused = asyncio.Event()
    storage.pause = paused.wait
    async with listening(storage=storage) as wire:
        _, writer = await _paused_wire(wire, storage)
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()
        await wait_until(lambda: not wire.state.connections)
        paused.set()
        await wait_until(lambda: bool(wire.api.log))
        assert wire.api.log[-1]["status"] == 499
        assert wire.api.app.state.hexapost.use_cases.user_export._active == 0
