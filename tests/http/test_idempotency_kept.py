"""What is kept of a request with an Idempotency-Key, who can open it, and what is answered while it is carried out."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from types import TracebackType

import pytest
from fastapi import FastAPI, Request, Response
from starlette.types import Message

from adapters.http import idempotency
from adapters.http.context import CALLER
from adapters.memory.storage import InMemoryStorage, InMemoryUnitOfWork
from adapters.memory.tables import View
from application.access import Caller
from application.idempotency import Once, Outcome
from domain.keys import Scope
from tests.http.credentials import once
from tests.http.support import ADMIN_KEY, AUTHORIZATION, check_problem, serving
from tests.http.test_idempotency import KEYS, POSTS, USERS, Desk, check_replay
from tests.support.callers import unbound

NAME = "a-name-that-nobody-guesses"


class HeldStorage(InMemoryStorage):
    """Holds transactions just before they commit, while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def transaction(self) -> "HeldWork":
        return HeldWork(View(self._tables, self._claims), self)


class HeldWork(InMemoryUnitOfWork):
    def __init__(self, view: View, storage: HeldStorage) -> None:
        super().__init__(view)
        self._storage = storage

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._view.tables()  # now the writes are made, and others refused
                self._storage.arrived.set()
                await self._storage.goes_on.wait()
        except BaseException:
            self._view.end()
            raise
        await super().__aexit__(kind, error, traceback)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    storage = HeldStorage()
    async with serving(storage) as api:
        yield Desk(api, storage, await api.user(email="author@example.org"))


def kept(desk: Desk) -> Outcome:
    """Return the only outcome that is stored."""
    (outcome,) = desk.storage._tables.outcomes.values()
    return outcome


def keep(desk: Desk, outcome: Outcome) -> None:
    """Store an outcome in the place of another."""
    desk.storage._tables.outcomes[outcome.key_id, outcome.name] = outcome


async def erase_author(desk: Desk) -> None:
    assert (await desk.api.client.delete(f"{USERS}/{desk.author['id']}")).status_code == 204


@pytest.mark.parametrize("path", [USERS, POSTS, KEYS])
async def test_while_it_is_carried_out_a_repetition_is_told_to_wait(desk: Desk, path: str) -> None:
    assert isinstance(desk.storage, HeldStorage)
    await desk.send(KEYS, "another")
    await desk.api.client.get(USERS)
    desk.storage.goes_on.clear()
    desk.storage.arrived.clear()
    first = asyncio.create_task(desk.send(path))
    await desk.storage.arrived.wait()
    for changes in ({}, {"name": "x"} if path == KEYS else {}):
        response = await desk.send(path, **changes)
        check_problem(response, 409, "idempotency-in-flight")
        assert response.headers["retry-after"] == "1"
    desk.storage.goes_on.set()
    check_replay(await first, await desk.send(path))


async def test_a_request_that_broke_off_leaves_no_claim(desk: Desk) -> None:
    assert isinstance(desk.storage, HeldStorage)
    desk.storage.goes_on.clear()
    desk.storage.arrived.clear()
    first = asyncio.create_task(desk.send(USERS))
    await desk.storage.arrived.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    desk.storage.goes_on.set()
    check_replay(await desk.send(USERS), await desk.send(USERS))


async def test_after_an_erasure_nothing_is_told_nor_made(desk: Desk) -> None:
    made = await desk.send(USERS)
    assert (await desk.api.client.delete(made.headers["location"])).status_code == 204
    stored = desk.counted
    problem = check_problem(await desk.send(USERS), 410, "outcome-erased")
    assert "ada" not in json.dumps(problem).lower()
    assert (desk.counted, kept(desk).answer) == (stored, b"")
    assert (await desk.send(USERS, "another")).status_code == 201


@pytest.mark.parametrize("path", [POSTS, KEYS])
async def test_after_an_erasure_what_was_about_the_user_is_gone(desk: Desk, path: str) -> None:
    await desk.send(path)
    await erase_author(desk)
    check_problem(await desk.send(path), 410, "outcome-erased")
    other = {"title": "x"} if path == POSTS else {"name": "x"}
    check_problem(await desk.send(path, **other), 422, "idempotency-key-reused")


async def test_nothing_of_a_request_is_kept_in_clear(desk: Desk) -> None:
    issued = (await desk.send(KEYS, NAME)).json()
    user = (await desk.send(USERS, NAME + "2")).json()
    post = (await desk.send(POSTS, NAME + "3", title="A secret title")).json()
    outcomes = list(desk.storage._tables.outcomes.values())
    assert len(outcomes) == 3
    dump = b"".join(one.name + one.fingerprint + one.answer for one in outcomes)
    for secret in [
        issued["key"], issued["key"].split("_")[2], ADMIN_KEY, NAME, user["email"], user["full_name"], user["id"],
        post["title"], post["id"], "location", "application/json",
    ]:  # fmt: skip
        assert secret.encode() not in dump
    assert issued["key"] not in repr(desk.storage._tables.keys)
    assert not re.search(rb"[\x20-\x7e]{24}", dump), "no text can be read"


async def test_the_same_answer_is_sealed_anew_every_time(desk: Desk) -> None:
    async with serving() as other:
        await desk.send(POSTS)
        again = Desk(other, other.storage, await other.user(email="author@example.org"))  # type: ignore[arg-type]
        await again.send(POSTS)
        assert kept(desk).name == kept(again).name
        assert kept(desk).answer[:12] != kept(again).answer[:12]


async def test_another_key_makes_other_hashes_of_the_same(desk: Desk) -> None:
    await desk.send(KEYS)
    other = await desk.api.key(*Scope)
    await desk.api.client.post(KEYS, json=desk.body(KEYS), headers={"authorization": f"Bearer {other}", **once("a")})
    first, second = desk.storage._tables.outcomes.values()
    assert first.name != second.name
    assert first.fingerprint != second.fingerprint


async def test_an_answer_that_was_tampered_with_is_not_told(desk: Desk) -> None:
    await desk.send(KEYS)
    outcome = kept(desk)
    sealed = outcome.answer
    for place in (0, 11, 12, 40, len(sealed) - 1):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        keep(desk, replace(outcome, answer=changed))
        check_problem(await desk.send(KEYS), 500, "internal-error")
    keep(desk, outcome)
    assert (await desk.send(KEYS)).status_code == 201


async def test_an_answer_to_another_request_is_not_told(desk: Desk) -> None:
    await desk.send(KEYS)
    outcome = kept(desk)
    await desk.send(KEYS, "b", name="another")
    (other,) = (one for one in desk.storage._tables.outcomes.values() if one.name != outcome.name)
    keep(desk, replace(outcome, answer=other.answer))
    check_problem(await desk.send(KEYS), 500, "internal-error")


async def _fingerprint(caller: Caller, method: str, path: str, body: bytes) -> bytes:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"idempotency-key", b"a"), AUTHORIZATION]
    app = FastAPI()
    app.state.idempotency = timedelta(hours=24)
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "app": app, CALLER: caller}
    made: Once[None] | None = await idempotency.once(Request(scope, receive), lambda _: Response())
    assert made is not None
    return made.fingerprint


async def test_a_request_is_its_method_its_path_and_its_body() -> None:
    caller = unbound()
    requests = [("POST", USERS, b"{}"), ("PUT", USERS, b"{}"), ("POST", POSTS, b"{}"), ("POST", USERS, b"{ }")]
    told = [await _fingerprint(caller, *request) for request in [*requests, requests[0]]]
    assert len(set(told)) == len(requests)
    assert told[0] == told[-1]


async def test_names_stay_out_of_the_log(desk: Desk) -> None:
    await desk.api.client.post(KEYS, json=desk.body(KEYS), headers=once(NAME))
    await desk.api.client.post(KEYS, json=desk.body(KEYS), headers=once(NAME))
    assert NAME not in repr(desk.api.log)
