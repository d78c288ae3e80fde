"""Requests of a load, and rows that are stored before it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import NUMBER, Attempt, LoadJob, RequestSpec
from tests.drills.load.load_runner import run_load
from tests.drills.scenario import ScenarioError

AUTHORS = 10
POSTS = 20
KEY = "Idempotency-Key"


def user(name: str) -> RequestSpec:
    return _writing(name, "/api/v1/users", {"email": name, "full_name": f"Drilled {name}"})


def post(name: str, author_id: str) -> RequestSpec:
    return _writing(name, "/api/v1/posts", {"author_id": author_id, "title": name, "content": "Stored once."})


def _writing(name: str, path: str, body: Mapping[str, str]) -> RequestSpec:
    headers = {KEY: name.replace(" ", "-")}
    return RequestSpec(
        name=name, method="POST", path=path, body=json.dumps(body), headers=headers, expects=json.dumps(name)
    )


def reading(path: str, *, expects: str) -> RequestSpec:
    return RequestSpec(name=f"read {NUMBER}", method="GET", path=path, expects=expects)


def only_writes(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts at operations that store a row."""
    return [attempt for attempt in attempts if attempt.kind.startswith("POST")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedData:
    """Rows that are stored before the load: ids by e-mail address and by title."""

    authors: Mapping[str, str]
    posts: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        return [*self.authors, *self.posts]

    def reads(self) -> list[RequestSpec]:
        """Return requests for users, posts and pages of posts, two to one to one."""
        users = [reading(f"/api/v1/users/{id_}", expects=id_) for id_ in self.authors.values()]
        posts = [reading(f"/api/v1/posts/{id_}", expects=id_) for id_ in self.posts.values()]
        pages = [reading(f"/api/v1/posts?author_id={id_}&limit=20", expects=id_) for id_ in self.authors.values()]
        return [*users, *users, *posts[:AUTHORS], *pages]

    def weighted_mix(self, *, reads: int = 1, writes: int = 1) -> list[RequestSpec]:
        """Return reads and writes (new users and new posts, one to one) in this ratio."""
        users = [user(f"drill-{NUMBER}@example.org")] * 2 * AUTHORS
        posts = [post(f"drill {NUMBER}", id_) for id_ in self.authors.values() for _ in range(2)]
        return self.reads() * reads + (users + posts) * writes


def insert_seed_data(job: LoadJob) -> SeedData:
    """Store authors and posts before the first fault, and return their ids."""
    authors = _stored(job, [user(f"author-{number}@example.org") for number in range(AUTHORS)])
    ids = list(authors.values())
    posts = _stored(job, [post(f"seed {number}", ids[number % len(ids)]) for number in range(POSTS)])
    return SeedData(authors=authors, posts=posts)


def _stored(job: LoadJob, operations: Sequence[RequestSpec]) -> Mapping[str, str]:
    responses = run_load(replace(job, operations=operations, rate=None, seconds=0.0, retry_seconds=0.0))
    if wrong := [response for response in responses if response.outcome != ACKNOWLEDGED]:
        raise ScenarioError(f"storing rows failed before the first fault: {wrong[0].status} {wrong[0].body}")
    return {response.operation: str(json.loads(response.body)["id"]) for response in responses}
