"""The header Idempotency-Key over PostgreSQL: what is promised for a POST that is repeated, with a real transaction."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from tests.http.credentials import once
from tests.http.support import ADA, ADMIN_KEY, Api, check_problem, serving
from tests.http.test_idempotency import REPLAYED, check_replay
from tests.support.databases import connected
from tests.support.stores import Store
from tests.support.waiting import until

USERS, POSTS, KEYS = "/api/v1/users", "/api/v1/posts", "/api/v1/api-keys"
KEY = {"name": "k", "scopes": ["users:read"]}
NAME = "a-name-that-nobody-guesses"


@dataclass(frozen=True)
class Desk:
    api: Api
    store: Store

    async def send(self, path: str, body: object, under: str = NAME) -> httpx.Response:
        return await self.api.client.post(path, json=body, headers=once(under))

    def rows(self, table: str) -> int:
        """Return how many rows a table has."""
        return len(self.store.admin.execute(f"SELECT FROM {table}").fetchall())


@pytest.fixture
async def desk(store: Store) -> AsyncIterator[Desk]:
    async with serving(store.storage) as api:
        yield Desk(api, store)


async def test_a_repetition_is_answered_as_the_request_was(desk: Desk) -> None:
    first = await desk.send(USERS, ADA)
    post = {"author_id": first.json()["id"], "title": "T", "content": "C"}
    for path, body in [(POSTS, post), (KEYS, KEY)]:
        made = await desk.send(path, body, path)
        check_replay(made, await desk.send(path, body, path))
    check_replay(first, await desk.send(USERS, ADA))
    assert (desk.rows("users"), desk.rows("posts"), desk.rows("api_keys")) == (1, 1, 2)
    check_problem(await desk.send(USERS, {**ADA, "full_name": None}), 422, "idempotency-key-reused")
    await desk.api.client.patch(first.headers["location"], json={"full_name": "Ada King"})
    check_replay(first, await desk.send(USERS, ADA))


async def test_while_it_is_carried_out_a_repetition_is_told_to_wait(desk: Desk) -> None:
    await desk.api.client.get(USERS)
    with connected(desk.store.url) as holder, holder.transaction():
        holder.execute("LOCK TABLE users IN SHARE MODE")
        first = asyncio.create_task(desk.send(USERS, ADA))
        await until(desk.store.is_waiting)
        response = await desk.send(USERS, ADA)
        check_problem(response, 409, "idempotency-in-flight")
        assert response.headers["retry-after"] == "1"
    check_replay(await first, await desk.send(USERS, ADA))
    assert desk.rows("users") == 1


async def test_of_many_at_once_one_is_carried_out(desk: Desk) -> None:
    answers = await asyncio.gather(*[desk.send(KEYS, KEY) for _ in range(20)])
    assert [REPLAYED in one.headers for one in answers if one.status_code == 201].count(False) == 1
    assert {one.status_code for one in answers} <= {201, 409}
    assert len({one.json()["key"] for one in answers if one.status_code == 201}) == 1
    assert desk.rows("api_keys") == 2


async def test_a_request_that_failed_is_tried_anew(desk: Desk) -> None:
    user = await desk.api.user()
    check_problem(await desk.send(USERS, ADA), 409, "email-already-registered")
    assert desk.rows("outcomes") == 0
    await desk.api.client.delete(f"{USERS}/{user['id']}")
    check_replay(await desk.send(USERS, ADA), await desk.send(USERS, ADA))


async def test_after_an_erasure_nothing_is_told_nor_made(desk: Desk) -> None:
    made = await desk.send(USERS, ADA)
    await desk.send(POSTS, {"author_id": made.json()["id"], "title": "T", "content": "C"}, "post")
    await desk.api.client.delete(made.headers["location"])
    check_problem(await desk.send(USERS, ADA), 410, "outcome-erased")
    assert desk.rows("users") == 0
    assert desk.store.admin.execute("SELECT max(length(answer)) FROM outcomes").fetchall() == [(0,)]


async def test_a_name_is_known_for_its_time_only(store: Store) -> None:
    async with serving(store.storage, idempotency=timedelta(seconds=2)) as api:
        made = [await api.client.post(KEYS, json=KEY, headers=once(NAME)) for _ in range(4)]
    check_replay(made[0], made[1])
    check_replay(made[2], made[3])
    assert made[0].json()["key"] != made[2].json()["key"]


async def test_nothing_of_a_request_is_kept_in_clear(desk: Desk) -> None:
    issued = (await desk.send(KEYS, KEY)).json()["key"]
    await desk.send(USERS, ADA, NAME + "2")
    rows = desk.store.admin.execute("SELECT name, fingerprint, answer FROM outcomes").fetchall()
    dump = b"".join(bytes(value) for row in rows for value in row)  # type: ignore[call-overload]
    assert len(dump) > 2 * 300, "it is all there"
    for secret in (issued, issued.split("_")[2], ADMIN_KEY, NAME, ADA["email"], ADA["full_name"], "location"):
        assert secret.encode() not in dump
    assert issued.split("_")[2] not in str(desk.store.admin.execute("SELECT api_keys::text FROM api_keys").fetchall())
    assert (await desk.send(KEYS, KEY)).json()["key"] == issued
