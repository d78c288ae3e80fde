"""The work that is measured, as requests that are ready to send."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.benchmarks.dataset import SEED, Dataset, Row
from tests.benchmarks.load import REPETITION, UNIQUE
from tests.drills.load.load_job import RequestSpec

PAGE = 20
USERS = "/api/v1/users"
POSTS = "/api/v1/posts"

WORKLOADS = ("W0", "W1", "W2", "W3", "W4", "W5", "W6", "W7")
MIX = {"W1": 0.8, "W2": 0.15, "W3": 0.05}
"""The workloads of which W4 consists, and their shares."""
_VARIETY = 2_000
"""The number of different requests per workload."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of work."""

    key: str
    title: str
    requests: Sequence[RequestSpec]


def correct_status(request: RequestSpec) -> int:
    return 201 if request.method == "POST" else 200


def read_user(user_id: object) -> RequestSpec:
    return RequestSpec(method="GET", path=f"{USERS}/{user_id}")


def newest_posts(author: Row, cursor: str | None = None) -> RequestSpec:
    rest = f"&cursor={cursor}" if cursor else ""
    return RequestSpec(method="GET", path=f"{POSTS}?author_id={author['id']}&limit={PAGE}{rest}")


def search(query: str) -> RequestSpec:
    return RequestSpec(method="GET", path=f"{POSTS}?{urlencode({'q': query, 'limit': PAGE})}")


def rename(user_id: object, version: object, name: str = UNIQUE) -> tuple[RequestSpec, Mapping[str, str]]:
    """Return a request that updates this version of a user, and the changed fields."""
    changes = {"full_name": f"Measured name {name}"}
    headers = {"If-Match": f'"{version}"'}
    return RequestSpec(method="PATCH", path=f"{USERS}/{user_id}", body=json.dumps(changes), headers=headers), changes


def new_post(author_id: object, number: int, key: str = "") -> tuple[RequestSpec, Mapping[str, str]]:
    """Return a request that creates a post, with an idempotency key unless it is empty, and the fields of the post."""
    text = f"Measured text number {number}: " + "a few words that a reader would want to keep. " * 6
    wanted = {"author_id": str(author_id), "title": f"Measured post {number}", "content": text.strip()}
    headers = {"Idempotency-Key": key} if key else {}
    return RequestSpec(method="POST", path=POSTS, body=json.dumps(wanted), headers=headers), wanted


def workloads(dataset: Dataset, keys: Sequence[str]) -> list[Workload]:
    """Return the workloads with these keys over the rows, the same ones at every run."""

    def choose(rows: Sequence[Row]) -> list[Row]:
        return random.Random(SEED).choices(rows, k=_VARIETY)  # noqa: S311 - the same at every run

    editable = dataset.editable[:_VARIETY]
    found = {
        "W0": ("GET /livez", [RequestSpec(method="GET", path="/livez")]),
        "W1": ("read one user", [read_user(user["id"]) for user in choose(dataset.users)]),
        "W2": (f"{PAGE} newest posts of an author", [newest_posts(author) for author in choose(dataset.prolific)]),
        "W3": ("create a post", [new_post(author["id"], n)[0] for n, author in enumerate(choose(dataset.writers))]),
        "W5": ("update a user with If-Match", [rename(user["id"], REPETITION)[0] for user in editable]),
        "W6": (
            "create a post with Idempotency-Key",
            [new_post(author["id"], n, UNIQUE)[0] for n, author in enumerate(choose(dataset.writers))],
        ),
        "W7": (f"search posts, 3 words, {PAGE} results", [search(query) for query in dataset.topics[:_VARIETY]]),
    }
    mixed = [request for key, share in MIX.items() for request in found[key][1][: round(share * _VARIETY)]]
    random.Random(SEED).shuffle(mixed)  # noqa: S311 - the same at every run
    found["W4"] = (", ".join(f"{share:.0%} {key}" for key, share in MIX.items()), mixed)
    return [Workload(key, *found[key]) for key in keys]
