"""The work that is measured, as requests that are ready to send."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.dataset import SEED, Dataset, Row

PAGE = 20
USERS = "/api/v1/users"
POSTS = "/api/v1/posts"

_VARIETY = 2_000
"""The number of different requests per workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request; one with a body is in JSON."""

    method: str
    path: str
    body: bytes | None = None

    def rendered(self, api_key: str) -> str:
        """Return the request as HTTP/1.1 sends it."""
        head = (
            f"{self.method} {self.path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\n"
            f"Authorization: Bearer {api_key}\r\n"
        )
        if self.body is None:
            return f"{head}\r\n"
        length = len(self.body)
        return f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{self.body.decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of work, and the status of a correct response."""

    key: str
    title: str
    status: int
    requests: Sequence[Request]

    @property
    def stores(self) -> bool:
        """Whether each request stores a post."""
        return self.status == 201


def read_user(user_id: object) -> Request:
    """Return the request for one user."""
    return Request(method="GET", path=f"{USERS}/{user_id}")


def newest_posts(author: Row, cursor: str | None = None) -> Request:
    """Return the request for a page of an author's posts."""
    rest = f"&cursor={cursor}" if cursor else ""
    return Request(method="GET", path=f"{POSTS}?author_id={author['id']}&limit={PAGE}{rest}")


def new_post(author_id: object, number: int) -> tuple[Request, Mapping[str, str]]:
    """Return a request that creates a post, and its fields."""
    text = f"Measured text number {number}: " + "a few words that a reader would want to keep. " * 6
    wanted = {"author_id": str(author_id), "title": f"Measured post {number}", "content": text.strip()}
    return Request(method="POST", path=POSTS, body=json.dumps(wanted).encode()), wanted


def _liveness(_dataset: Dataset, _chance: random.Random) -> Workload:
    requests = [Request(method="GET", path="/livez")]
    return Workload(key="W0", title="GET /livez", status=200, requests=requests)


def _one_user(dataset: Dataset, chance: random.Random) -> Workload:
    requests = [read_user(user["id"]) for user in chance.choices(dataset.users, k=_VARIETY)]
    return Workload(key="W1", title="read one user", status=200, requests=requests)


def _a_page(dataset: Dataset, chance: random.Random) -> Workload:
    requests = [newest_posts(author) for author in chance.choices(dataset.prolific, k=_VARIETY)]
    return Workload(key="W2", title=f"{PAGE} newest posts of an author", status=200, requests=requests)


def _a_post(dataset: Dataset, chance: random.Random) -> Workload:
    authors = chance.choices(dataset.writers, k=_VARIETY)
    requests = [new_post(author["id"], number)[0] for number, author in enumerate(authors)]
    return Workload(key="W3", title="create a post", status=201, requests=requests)


WORKLOADS: Mapping[str, Callable[[Dataset, random.Random], Workload]] = {
    "W0": _liveness,
    "W1": _one_user,
    "W2": _a_page,
    "W3": _a_post,
}


def workloads(dataset: Dataset, keys: Sequence[str]) -> list[Workload]:
    """Return the workloads with these keys over the rows, the same ones at every run."""
    return [WORKLOADS[key](dataset, random.Random(SEED)) for key in keys]  # noqa: S311 - the same at every run
