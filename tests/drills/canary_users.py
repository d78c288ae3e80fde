"""Users with a canary in all their data, and the requests before, during and after their erasure."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import Attempt, RequestSpec
from tests.drills.load.load_runner import run_load
from tests.drills.load.workload import KEY
from tests.drills.scenario import ScenarioError
from tests.drills.service_under_test import ServiceUnderTest

API = "/api/v1"
POSTS = 4
"""Posts of a user before the erasure, and posts that requests create during it."""
REQUEST_ID = "request-of-a-canary-user"
"""The log of the service contains it, but no table after the erasure."""
RETRY_SECONDS = 60.0
"""A process sends two exports at a time, and answers further ones with a 503."""
NO_ITEMS = '"items":[]'
_SCOPES = ["posts:read", "posts:write", "users:read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryUser:
    """A stored user. `creations` are the requests that created the user, a key and a post. `api_key` is that key."""

    number: int
    id: str
    email: str
    creations: Sequence[RequestSpec]
    post_ids: Sequence[str]
    api_key: str

    @property
    def path(self) -> str:
        return f"{API}/users/{self.id}"


def send(service: ServiceUnderTest, requests: Sequence[RequestSpec]) -> Mapping[str, Attempt]:
    """Send each request with concurrent clients, retry it after a 503, and return the last responses by name."""
    return {attempt.operation: attempt for attempt in run_load(service.job(requests, retry_seconds=RETRY_SECONDS))}


def create_users(service: ServiceUnderTest, word: str, count: int) -> list[CanaryUser]:
    """Create users with the word in their data, change them, and export them."""
    numbers = range(count)
    creations = [_request("POST", "users", _user(word, n, "first"), key=f"{word}-user-{n}") for n in numbers]
    ids = [str(body["id"]) for body in _create(service, creations)]
    keys = [_api_key(word, f"key-{n}", ids[n]) for n in numbers]
    api_keys = [str(body["key"]) for body in _create(service, keys)]
    posts = [
        # The key of the load creates the first post, because a deletion of the user does not delete this key.
        _post(word, f"{n}-{number}", ids[n], api_keys[n] if number else "")
        for n in numbers
        for number in range(POSTS)
    ]
    post_ids = [str(body["id"]) for body in _create(service, posts)]
    users = [
        CanaryUser(
            number=n,
            id=ids[n],
            email=_email(word, n, "last"),
            creations=[creations[n], keys[n], posts[POSTS * n]],
            post_ids=post_ids[POSTS * n : POSTS * (n + 1)],
            api_key=api_keys[n],
        )
        for n in numbers
    ]
    _create(service, [change for user in users for change in _changes(word, user, _user(word, user.number, "last"))])
    for user in users:
        if word not in service.served.get(f"{user.path}/export", key=service.key).read().decode():
            raise ScenarioError("the export of a user does not contain the canary")
    return users


def invalid_requests(word: str, user: CanaryUser, author_id: str) -> list[RequestSpec]:
    """Return requests with the word that the service rejects."""
    return [
        _request("POST", "users", {"email": user.email}, key=f"{word}-duplicate"),
        _request("PATCH", f"users/{author_id}", {"email": user.email}),  # PostgreSQL finds this duplicate
        _request("POST", "users", {"email": f"{word} is no address"}),
        _request("POST", "users", {"email": f"{word}@example.org"}, key=f"{word}-user-{user.number}"),
        _request("POST", "posts", {"author_id": author_id, "unknown": word}),
        _request("GET", word),
        _request("GET", f"users/{word}"),
        _request("GET", f"posts?q={word}&cursor={word}"),
        _request("GET", f"posts?unknown={word}"),
        RequestSpec(name="not JSON", method="POST", path=f"{API}/users", body=f"{{{word}"),
        RequestSpec(name="key", method="GET", path=user.path, headers=_authorization(f"hexa_{word}")),
    ]


def race_requests(word: str, users: Sequence[CanaryUser], seed: str) -> list[RequestSpec]:
    """Return the deletion of each user between writes about the same user, in random order."""
    chance = random.Random(seed)  # noqa: S311 - the same order for the same seed
    requests = []
    for user in users:
        n = user.number
        group = [
            RequestSpec(name=f"delete {n}", method="DELETE", path=user.path),
            *(_post(word, f"race-{n}-{number}", user.id) for number in range(POSTS)),
            *_changes(word, user, {"full_name": f"Race {word}"}),
            _api_key(word, f"race-{n}", user.id),
        ]
        requests += chance.sample(group, len(group))
    return requests


def requests_after(word: str, users: Sequence[CanaryUser]) -> Iterator[tuple[RequestSpec, int]]:
    """Yield requests about erased users, and the status that each one must get."""
    yield _empty_page(f"posts?q={word}*"), 200
    for user in users:
        yield _empty_page(f"posts?author_id={user.id}"), 200
        for path in (user.path, f"{user.path}/export", *(f"{API}/posts/{id_}" for id_ in user.post_ids)):
            yield RequestSpec(name=path, method="GET", path=path), 404
        yield from [(creation, 410) for creation in user.creations]
        own = _authorization(user.api_key)
        yield RequestSpec(name=f"own {user.number}", method="GET", path=user.path, headers=own), 401


def _empty_page(path: str) -> RequestSpec:
    return RequestSpec(name=path, method="GET", path=f"{API}/{path}", expects=NO_ITEMS)


def _changes(word: str, user: CanaryUser, fields: Mapping[str, object]) -> list[RequestSpec]:
    """Return updates of the user, and of a post."""
    content = f"Changed {word} of {sorted(fields)}."
    return [
        _request("PATCH", f"users/{user.id}", fields),
        _request("PATCH", f"posts/{user.post_ids[0]}", {"content": content, "status": "published"}),
    ]


def _create(service: ServiceUnderTest, requests: Sequence[RequestSpec]) -> list[Mapping[str, object]]:
    """Send requests, and return the bodies of the responses in the same order."""
    responses = send(service, requests)
    if wrong := [one for one in responses.values() if one.outcome != ACKNOWLEDGED]:
        raise ScenarioError(f"storing canaries failed: {wrong[0].kind}: {wrong[0].status}")
    return [json.loads(responses[request.name].body) for request in requests]


def _email(word: str, number: int, part: str) -> str:
    return f"{part}.{word}.{number}@bücher-{word}.example"


def _user(word: str, number: int, part: str) -> dict[str, object]:
    return {"email": _email(word, number, part), "full_name": f"{part} {word}"}


def _post(word: str, number: str, author_id: str, api_key: str = "") -> RequestSpec:
    """Return the creation of a post, by default with the key of the load."""
    text = f"{word}{number.replace('-', '')}"
    fields = {"author_id": author_id, "title": f"On {text}", "content": f"About {text}."}
    return _request("POST", "posts", fields, key=f"{word}-post-{number}", api_key=api_key)


def _api_key(word: str, key: str, user_id: str) -> RequestSpec:
    fields = {"name": f"Key of {word}", "scopes": _SCOPES, "user_id": user_id}
    return _request("POST", "api-keys", fields, key=f"{word}-{key}")


def _request(
    method: str, path: str, fields: Mapping[str, object] | None = None, *, key: str = "", api_key: str = ""
) -> RequestSpec:
    """Return a request with a JSON body, an Idempotency-Key and an API key if they are given."""
    return RequestSpec(
        name=f"{method} {path} {fields} {key}",
        method=method,
        path=f"{API}/{path}",
        body=json.dumps(fields) if fields else "",
        headers={"X-Request-ID": REQUEST_ID}
        | ({KEY: key} if key else {})
        | (_authorization(api_key) if api_key else {}),
    )


def _authorization(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"}
