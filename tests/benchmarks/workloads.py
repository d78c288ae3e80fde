"""The work that is measured, as requests that are ready to send."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.dataset import SEED, Dataset, Row
from tests.drills.load.load_job import RequestSpec

PAGE = 20
USERS = "/api/v1/users"
POSTS = "/api/v1/posts"

WORKLOADS = ("W0", "W1", "W2", "W3")
_VARIETY = 2_000
"""The number of different requests per workload."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of work, and the status of a correct response."""

    key: str
    title: str
    status: int
    requests: Sequence[RequestSpec]

    @property
    def stores(self) -> bool:
        return self.status == 201


def read_user(user_id: object) -> RequestSpec:
    return RequestSpec(method="GET", path=f"{USERS}/{user_id}")


def newest_posts(author: Row, cursor: str | None = None) -> RequestSpec:
    rest = f"&cursor={cursor}" if cursor else ""
    return RequestSpec(method="GET", path=f"{POSTS}?author_id={author['id']}&limit={PAGE}{rest}")


def new_post(author_id: object, number: int) -> tuple[RequestSpec, Mapping[str, str]]:
    """Return a request that creates a post, and its fields."""
    text = f"Measured text number {number}: " + "a few words that a reader would want to keep. " * 6
    wanted = {"author_id": str(author_id), "title": f"Measured post {number}", "content": text.strip()}
    return RequestSpec(method="POST", path=POSTS, body=json.dumps(wanted)), wanted


def workloads(dataset: Dataset, keys: Sequence[str]) -> list[Workload]:
    """Return the workloads with these keys over the rows, the same ones at every run."""

    def choose(rows: Sequence[Row]) -> list[Row]:
        return random.Random(SEED).choices(rows, k=_VARIETY)  # noqa: S311 - the same at every run

    reads = [read_user(user["id"]) for user in choose(dataset.users)]
    pages = [newest_posts(author) for author in choose(dataset.prolific)]
    posts = [new_post(author["id"], number)[0] for number, author in enumerate(choose(dataset.writers))]
    found = {
        "W0": ("GET /livez", 200, [RequestSpec(method="GET", path="/livez")]),
        "W1": ("read one user", 200, reads),
        "W2": (f"{PAGE} newest posts of an author", 200, pages),
        "W3": ("create a post", 201, posts),
    }
    return [Workload(key, *found[key]) for key in keys]
