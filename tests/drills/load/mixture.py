"""The requests of a load, and what is stored before it begins."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.drills.drill import DrillError
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import NUMBER, Attempt, Job, Operation
from tests.drills.load.loading import loaded

AUTHORS = 10
POSTS = 20
SEED_SECONDS = 60.0
KEY = "Idempotency-Key"
READ = "read"
"""How the names of those begin that store nothing."""


def user(name: str) -> Operation:
    """Return the request that registers an address."""
    return _writing(name, "/api/v1/users", {"email": name, "full_name": f"Drilled {name}"})


def post(name: str, author_id: str) -> Operation:
    """Return the request that stores a post with that title."""
    return _writing(name, "/api/v1/posts", {"author_id": author_id, "title": name, "content": "Stored once."})


def _writing(name: str, path: str, body: Mapping[str, str]) -> Operation:
    headers = {KEY: name.replace(" ", "-")}
    return Operation(
        name=name, method="POST", path=path, body=json.dumps(body), headers=headers, expects=json.dumps(name)
    )


def reading(path: str, *, expects: str) -> Operation:
    """Return a request that stores nothing."""
    return Operation(name=f"{READ} {NUMBER}", method="GET", path=path, expects=expects)


def only_writes(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts at what stores something."""
    return [attempt for attempt in attempts if not attempt.operation.startswith(READ)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """What is stored before the load: ids by address and by title."""

    authors: Mapping[str, str]
    posts: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """What a ledger knows them by."""
        return [*self.authors, *self.posts]

    def reads(self) -> list[Operation]:
        """Return users, posts and pages of an author's posts, two to one to one."""
        users = [reading(f"/api/v1/users/{id_}", expects=id_) for id_ in self.authors.values()]
        posts = [reading(f"/api/v1/posts/{id_}", expects=id_) for id_ in self.posts.values()]
        pages = [reading(f"/api/v1/posts?author_id={id_}&limit=20", expects=id_) for id_ in self.authors.values()]
        return [*users, *users, *posts[:AUTHORS], *pages]

    def writes(self) -> list[Operation]:
        """Return new users and new posts, one to one, as many as there are reads."""
        users = [user(f"drill-{NUMBER}@example.org")] * 2 * AUTHORS
        return [*users, *(post(f"drill {NUMBER}", id_) for id_ in self.authors.values() for _ in range(2))]

    def mixture(self, *, reads: int, writes: int) -> list[Operation]:
        """Return so many reads to so many writes, to be drawn from."""
        return self.reads() * reads + self.writes() * writes


def seeded(job: Job) -> Seeds:
    """Store authors and posts, while no fault is injected, and return their ids."""
    authors = _stored(job, [user(f"author-{number}@example.org") for number in range(AUTHORS)])
    ids = list(authors.values())
    posts = _stored(job, [post(f"seed {number}", ids[number % len(ids)]) for number in range(POSTS)])
    return Seeds(authors=authors, posts=posts)


def _stored(job: Job, operations: Sequence[Operation]) -> Mapping[str, str]:
    job = replace(job, operations=operations, rate=None, seconds=0.0, patience=0.0)
    answers = loaded(job, seconds=SEED_SECONDS)
    if wrong := [answer for answer in answers if answer.outcome != ACKNOWLEDGED]:
        raise DrillError(f"without a fault, nothing is stored: {wrong[0].status} {wrong[0].body}")
    return {answer.operation: str(json.loads(answer.body)["id"]) for answer in answers}
