"""Tests for the header Idempotency-Key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from application.idempotency import IdempotencyInFlightError
from tests.http.credentials import once
from tests.http.support import ADA, JSON_TYPE, Api, FailingStorage, Json, call, check_problem, findings, serving
from tests.support.principals import CountingStorage

USERS, POSTS, KEYS = "/api/v1/users", "/api/v1/posts", "/api/v1/api-keys"
REPLAYED = "idempotency-replayed"


@dataclass(frozen=True)
class Desk:
    """An application with an author, and a request for each POST endpoint."""

    api: Api
    storage: InMemoryStorage
    author: Json

    def body(self, path: str, **changes: object) -> Json:
        """Return a valid body for the endpoint."""
        return {
            USERS: {**ADA, **changes},
            POSTS: {"author_id": self.author["id"], "title": "T", "content": "C", **changes},
            KEYS: {"name": "k", "scopes": ["users:read"], "user_id": self.author["id"], **changes},
        }[path]

    async def send(self, path: str, under: str = "a", *, key: str | None = None, **changes: object) -> httpx.Response:
        """Send the request with an idempotency key."""
        return await self.api.client.post(path, json=self.body(path, **changes), headers=once(under, key))

    @property
    def counted(self) -> list[int]:
        """The number of stored users, posts, API keys and idempotency records."""
        tables = self.storage._tables
        return [len(tables.users), len(tables.posts), len(tables.api_keys), len(tables.idempotency_records)]


@pytest.fixture
async def desk(api: Api, storage: CountingStorage) -> Desk:
    return Desk(api, storage, await api.user(email="author@example.org"))


every_path = pytest.mark.parametrize("path", [USERS, POSTS, KEYS])


def replayed_parts(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return the parts of a response that a replay repeats."""
    headers = [pair for pair in response.headers.multi_items() if pair[0] not in {"x-request-id", REPLAYED}]
    return response.status_code, response.content, headers


def check_replay(first: httpx.Response, again: httpx.Response) -> None:
    """Check that the second response is a replay of the first."""
    assert (first.status_code, REPLAYED in first.headers) == (201, False)
    assert again.headers.get_list(REPLAYED) == ["true"]
    assert replayed_parts(again) == replayed_parts(first)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


@every_path
async def test_idempotent_post_replays_the_first_response(desk: Desk, path: str) -> None:
    first = await desk.send(path)
    stored = desk.counted
    for _ in range(2):
        again = await desk.send(path)
        check_replay(first, again)
        assert desk.counted == stored
    assert again.headers["location"] == f"{path}/{first.json()['id']}"
    assert again.headers.get("etag") == (None if path == KEYS else '"1"')
    assert again.headers["content-type"] == "application/json"
    assert again.headers["cache-control"] == "no-store"
    assert desk.api.log[-1]["status"] == 201


@every_path
async def test_post_without_idempotency_key_executes_each_time(desk: Desk, path: str) -> None:
    changes = [{"email": f"{n}@example.org"} if path == USERS else {} for n in range(2)]
    made = [await desk.api.client.post(path, json=desk.body(path, **change)) for change in changes]
    assert len({response.json()["id"] for response in made}) == 2
    assert desk.counted[-1] == 0


@every_path
async def test_reused_idempotency_key_returns_422(desk: Desk, path: str) -> None:
    first = await desk.send(path)
    stored = desk.counted
    other = {USERS: {"full_name": "x"}, POSTS: {"title": "x"}, KEYS: {"name": "x"}}[path]
    check_problem(await desk.send(path, **other), 422, "idempotency-key-reused")
    for elsewhere in {USERS, POSTS, KEYS} - {path}:
        check_problem(await desk.send(elsewhere), 422, "idempotency-key-reused")
    assert desk.counted == stored
    check_replay(first, await desk.send(path))


async def test_idempotent_post_is_compared_by_its_bytes(desk: Desk) -> None:
    body = b'{"email": "ada@example.org"}'
    headers = {**once("a"), "Content-Type": "application/json"}
    first = await desk.api.client.post(USERS, content=body, headers=headers)
    check_replay(first, await desk.api.client.post(f"{USERS}/", content=body, headers=headers))
    respelled = await desk.api.client.post(USERS, content=body + b" ", headers=headers)
    check_problem(respelled, 422, "idempotency-key-reused")


async def test_idempotent_post_returns_409_while_in_flight(api: Api) -> None:
    async with api.over(FailingStorage(IdempotencyInFlightError)):
        response = await api.client.post(USERS, json=ADA, headers=once("a"))
    check_problem(response, 409, "idempotency-in-flight")
    assert response.headers["retry-after"] == "1"


async def test_idempotent_post_returns_410_after_erasure(desk: Desk) -> None:
    made = await desk.send(USERS)
    assert (await desk.api.client.delete(made.headers["location"])).status_code == 204
    stored = desk.counted
    response = await desk.send(USERS)
    check_problem(response, 410, "idempotency-record-erased")
    assert "ada" not in response.text.lower()
    assert desk.counted == stored


@pytest.mark.parametrize(
    "names", [("a", '"a"'), ('"b"', "b"), ('"c"', '"c"'), ("!#[]~" * 51, '"' + "!#[]~" * 51 + '"')]
)
async def test_idempotency_key_may_be_quoted(desk: Desk, names: tuple[str, str]) -> None:
    check_replay(await desk.send(USERS, names[0]), await desk.send(USERS, names[1]))


async def test_idempotency_key_is_compared_exactly(desk: Desk) -> None:
    made = [await desk.send(KEYS, name) for name in ("a", "A", "aa", '"a "', '" a"', "a,b", "\x7e")]
    assert {response.status_code for response in made} == {201}
    assert len({response.json()["key"] for response in made}) == len(made)
    assert all(REPLAYED not in response.headers for response in made)


MALFORMED: dict[str, Sequence[bytes]] = {
    "empty": [b""],
    "empty quotes": [b'""'],
    "half a quote": [b'"a'],
    "the other half": [b'a"'],
    "a quote within": [b'"a"b"'],
    "a backslash": [b'"a\\"b"'],
    "a space without quotes": [b"a b"],
    "a parameter": [b'"a";x=1'],
    "a list": [b'"a", "b"'],
    "a control character": [b'"a\x00"'],
    "a line break": [b"a\n"],
    "not ASCII": ["é".encode()],
    "Latin-1": [b'"\xe9"'],
    "too long": [b"a" * 256],
    "too long in quotes": [b'"' + b"a" * 256 + b'"'],
    "far too long": [b"a" * 20_000],
    "twice": [b"a", b"a"],
    "two": [b"a", b"b"],
    "one of two is empty": [b"a", b""],
}


@pytest.mark.parametrize("lines", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_idempotency_key_returns_422(desk: Desk, lines: Sequence[bytes]) -> None:
    stored = desk.counted
    body = desk.api.client.build_request("POST", KEYS, json=desk.body(KEYS)).content
    headers = [JSON_TYPE, *[(b"idempotency-key", line) for line in lines]]
    received = [{"type": "http.request", "body": body, "more_body": False}]
    response = await call(desk.api.app, "POST", KEYS, headers=headers, received=received)
    assert findings(response.parsed) == [("Idempotency-Key", "invalid_format")]
    assert desk.counted == stored


async def test_idempotency_key_is_ignored_by_other_methods(desk: Desk) -> None:
    path = f"{USERS}/{desk.author['id']}"
    for full_name in ("x", "y"):
        changed = await desk.api.client.patch(path, json={"full_name": full_name}, headers=once("a"))
        assert (changed.json()["full_name"], REPLAYED in changed.headers) == (full_name, False)
    assert (await desk.api.client.get(path, headers=once('"'))).json()["full_name"] == "y"
    assert (await desk.api.client.delete(path, headers=once("a"))).status_code == 204
    check_problem(await desk.api.client.delete(path, headers=once("a")), 404, "user-not-found")
    assert desk.counted[-1] == 0


async def test_idempotency_retention_is_configurable() -> None:
    # The clock advances by one second for each request.
    async with serving(idempotency_retention=timedelta(seconds=2)) as api:
        given = {"name": "k", "scopes": ["users:read"]}
        made = [await api.client.post(KEYS, json=given, headers=once("a")) for _ in range(4)]
    check_replay(made[0], made[1])
    check_replay(made[2], made[3])
    assert made[0].json()["key"] != made[2].json()["key"]
