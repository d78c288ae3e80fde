"""The header Idempotency-Key: a POST that is repeated is carried out once, and answered as it was then."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from adapters.memory.storage import InMemoryStorage
from domain.keys import Scope
from tests.http.credentials import once, stored_key
from tests.http.support import ADA, Api, Json, call, check_problem, findings, serving

USERS, POSTS, KEYS = "/api/v1/users", "/api/v1/posts", "/api/v1/api-keys"
REPLAYED = "idempotency-replayed"


@dataclass(frozen=True)
class Desk:
    """An application with an author, and a request for each operation that takes the header."""

    api: Api
    storage: InMemoryStorage
    author: Json

    def body(self, path: str, **changes: object) -> Json:
        """Return a body that the operation takes."""
        return {
            USERS: {**ADA, **changes},
            POSTS: {"author_id": self.author["id"], "title": "T", "content": "C", **changes},
            KEYS: {"name": "k", "scopes": ["users:read"], "user_id": self.author["id"], **changes},
        }[path]

    async def send(self, path: str, under: str = "a", *, key: str | None = None, **changes: object) -> httpx.Response:
        """Send the request, under a name."""
        return await self.api.client.post(path, json=self.body(path, **changes), headers=once(under, key))

    @property
    def counted(self) -> list[int]:
        """How many users, posts, keys and outcomes are stored."""
        tables = self.storage._tables
        return [len(tables.users), len(tables.posts), len(tables.keys), len(tables.outcomes)]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    storage = InMemoryStorage()
    async with serving(storage) as api:
        yield Desk(api, storage, await api.user(email="author@example.org"))


every_path = pytest.mark.parametrize("path", [USERS, POSTS, KEYS])


def told(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return what is the same whenever a request is repeated."""
    headers = [pair for pair in response.headers.multi_items() if pair[0] not in {"x-request-id", REPLAYED}]
    return response.status_code, response.content, headers


def check_replay(first: httpx.Response, again: httpx.Response) -> None:
    """Check that the second is the answer to the first, and says so."""
    assert (first.status_code, REPLAYED in first.headers) == (201, False)
    assert again.headers.get_list(REPLAYED) == ["true"]
    assert told(again) == told(first)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


@every_path
async def test_a_repetition_is_answered_as_the_request_was(desk: Desk, path: str) -> None:
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
async def test_without_the_header_every_request_is_a_new_one(desk: Desk, path: str) -> None:
    changes = [{"email": f"{n}@example.org"} if path == USERS else {} for n in range(2)]
    made = [await desk.api.client.post(path, json=desk.body(path, **change)) for change in changes]
    assert len({response.json()["id"] for response in made}) == 2
    assert desk.counted[-1] == 0


async def test_what_became_of_it_since_is_not_told(desk: Desk) -> None:
    first = {path: await desk.send(path, path) for path in (USERS, POSTS, KEYS)}
    user, post, key = (first[path].headers["location"] for path in (USERS, POSTS, KEYS))
    await desk.api.client.patch(user, json={"full_name": "Ada King", "email": "new@example.org"})
    await desk.api.client.patch(post, json={"title": "Other"})
    await desk.api.client.delete(key)
    for path, response in first.items():
        check_replay(response, await desk.send(path, path))
    assert (await desk.api.client.delete(post)).status_code == 204
    check_replay(first[POSTS], await desk.send(POSTS, POSTS))
    check_problem(await desk.api.client.get(post), 404, "post-not-found")


@every_path
async def test_another_request_cannot_have_the_name(desk: Desk, path: str) -> None:
    first = await desk.send(path)
    stored = desk.counted
    other = {USERS: {"full_name": "x"}, POSTS: {"title": "x"}, KEYS: {"name": "x"}}[path]
    check_problem(await desk.send(path, **other), 422, "idempotency-key-reused")
    for elsewhere in {USERS, POSTS, KEYS} - {path}:
        check_problem(await desk.send(elsewhere), 422, "idempotency-key-reused")
    assert desk.counted == stored
    check_replay(first, await desk.send(path))


async def test_the_same_body_elsewhere_is_another_request(desk: Desk) -> None:
    body = b'{"email": "ada@example.org"}'
    headers = {**once("a"), "Content-Type": "application/json"}
    first = await desk.api.client.post(USERS, content=body, headers=headers)
    check_replay(first, await desk.api.client.post(f"{USERS}/", content=body, headers=headers))
    respelled = await desk.api.client.post(USERS, content=body + b" ", headers=headers)
    check_problem(respelled, 422, "idempotency-key-reused")


@pytest.mark.parametrize(
    "names", [("a", '"a"'), ('"b"', "b"), ('"c"', '"c"'), ("!#[]~" * 51, '"' + "!#[]~" * 51 + '"')]
)
async def test_quotes_make_no_difference(desk: Desk, names: tuple[str, str]) -> None:
    check_replay(await desk.send(USERS, names[0]), await desk.send(USERS, names[1]))


async def test_names_that_differ_are_different(desk: Desk) -> None:
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
@every_path
async def test_a_malformed_name_is_refused(desk: Desk, path: str, lines: Sequence[bytes]) -> None:
    stored = desk.counted
    request = desk.api.client.build_request("POST", path, json=desk.body(path))
    headers = [(b"content-type", b"application/json"), *[(b"idempotency-key", line) for line in lines]]
    received = [{"type": "http.request", "body": request.content, "more_body": False}]
    raw = await call(desk.api.app, "POST", path, headers=headers, received=received)
    response = httpx.Response(raw.status, headers=raw.headers, content=raw.body)
    assert findings(response) == [("Idempotency-Key", "format")]
    assert desk.counted == stored


@every_path
async def test_each_api_key_has_names_of_its_own(desk: Desk, path: str) -> None:
    other = await stored_key(desk.storage)
    first = await desk.send(path)
    changes = {"email": "b@example.org"} if path == USERS else {}
    second = await desk.send(path, key=other, **changes)
    assert (second.status_code, REPLAYED in second.headers) == (201, False)
    assert second.json()["id"] != first.json()["id"]
    check_replay(first, await desk.send(path))
    check_replay(second, await desk.send(path, key=other, **changes))
    kept = list(desk.storage._tables.outcomes.values())
    assert len(kept) == len({one.name for one in kept}) == len({one.fingerprint for one in kept}) == 2


async def test_a_key_that_was_revoked_gets_nothing_again(desk: Desk) -> None:
    issued = (await desk.api.client.post(KEYS, json={"name": "k", "scopes": [*Scope]})).json()
    assert (await desk.send(USERS, key=issued["key"])).status_code == 201
    await desk.api.client.delete(f"{KEYS}/{issued['id']}")
    check_problem(await desk.send(USERS, key=issued["key"]), 401, "unauthenticated")


async def test_only_post_has_names(desk: Desk) -> None:
    path = f"{USERS}/{desk.author['id']}"
    for full_name in ("x", "y"):
        changed = await desk.api.client.patch(path, json={"full_name": full_name}, headers=once("a"))
        assert (changed.json()["full_name"], REPLAYED in changed.headers) == (full_name, False)
    assert (await desk.api.client.get(path, headers=once('"'))).json()["full_name"] == "y"
    assert (await desk.api.client.delete(path, headers=once("a"))).status_code == 204
    check_problem(await desk.api.client.delete(path, headers=once("a")), 404, "user-not-found")
    assert desk.counted[-1] == 0


async def test_a_request_that_failed_is_tried_anew(desk: Desk) -> None:
    check_problem(await desk.send(USERS, email=desk.author["email"]), 409, "email-already-registered")
    assert findings(await desk.send(USERS, email="x")) == [("/email", "format")]
    author = f"{USERS}/{desk.author['id']}"
    await desk.api.client.patch(author, json={"is_active": False})
    check_problem(await desk.send(POSTS, "p"), 409, "author-inactive")
    assert desk.counted[-1] == 0
    await desk.api.client.patch(author, json={"is_active": True, "email": "moved@example.org"})
    first = await desk.send(POSTS, "p")
    check_replay(first, await desk.send(POSTS, "p"))
    assert (await desk.send(USERS, email=desk.author["email"])).status_code == 201


async def test_a_name_is_known_for_its_time_only() -> None:
    # The clock ticks once a second, at each request.
    async with serving(idempotency=timedelta(seconds=2)) as api:
        given = {"name": "k", "scopes": ["users:read"]}
        made = [await api.client.post(KEYS, json=given, headers=once("a")) for _ in range(4)]
        check_replay(made[0], made[1])
        check_replay(made[2], made[3])
        assert made[0].json()["key"] != made[2].json()["key"]
        assert (await api.client.post(KEYS, json={**given, "name": "x"}, headers=once("a"))).status_code == 201


async def test_of_many_at_once_one_is_carried_out(desk: Desk) -> None:
    answers = await asyncio.gather(*[desk.send(USERS) for _ in range(20)])
    assert [REPLAYED in one.headers for one in answers if one.status_code == 201].count(False) == 1
    assert {one.status_code for one in answers} <= {201, 409}
    assert (desk.counted[0], desk.counted[-1]) == (2, 1)
