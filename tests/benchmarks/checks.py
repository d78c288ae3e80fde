"""Checks the responses of each service before the measurement."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from tests.benchmarks.dataset import Dataset, Row, shown
from tests.benchmarks.errors import WrongResponseError
from tests.benchmarks.servers import Server
from tests.benchmarks.workloads import MIX, PAGE, Workload, new_post, newest_posts, read_user, rename, search
from tests.drills.load.load_job import RequestSpec

T = TypeVar("T")

_UNKNOWN_ID = UUID("01900000-0000-7000-8000-000000000000")


class Checker:
    """Compares the JSON of a server with the rows, value by value, so that all servers do the same work.

    `responses` is the number of compared responses. `extra` contains the members without a value in the rows. They are
    permitted, because a commit can add a field.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.responses = 0
        self.extra: set[str] = set()

    def check(self, dataset: Dataset, workload: str) -> None:
        """Check the responses of a workload except W4, a mix of others. Raises WrongResponseError at a wrong one."""
        checks = {
            "W0": self._check_liveness,
            "W1": self._check_users,
            "W2": self._check_lists,
            "W3": self._check_creation,
            "W5": self._check_updates,
            "W6": self._check_replays,
            "W7": self._check_searches,
        }
        checks[workload](dataset)

    def _check_liveness(self, _dataset: Dataset) -> None:
        self._same("the liveness", self._ask(RequestSpec(method="GET", path="/livez"), 200), {"status": "ok"})

    def _check_users(self, dataset: Dataset) -> None:
        for user in _spread(dataset.users):
            self._same("a user", self._ask(read_user(user["id"]), 200), shown(user))
        self._ask(read_user(_UNKNOWN_ID), 404)

    def _check_lists(self, dataset: Dataset) -> None:
        for author in _spread(dataset.prolific):
            self._check_pages(author, dataset.newest_posts(author))

    def _check_creation(self, dataset: Dataset) -> None:
        for number, writer in enumerate(_spread(dataset.writers)):
            self._check_new_post(*new_post(writer["id"], number))
        self._ask(new_post(_UNKNOWN_ID, 0)[0], 422)
        self._ask(new_post(dataset.inactive["id"], 0)[0], 409)

    def _check_updates(self, dataset: Dataset) -> None:
        """Compare updated users with the stored rows. A second update of the same version is rejected."""
        for user in _spread(dataset.editable):
            request, changes = rename(user["id"], user["version"], "one")
            response = self._ask(request, 200)
            version = user["version"] + 1
            new = {"updated_at": response["updated_at"], "version": version}
            self._same("an updated user", response, {**shown(user), **changes, **new})
            stored = self._server.deployment.database.await_user(user["id"], version)
            self._same("a stored user", shown(stored), response)
            self._ask(rename(user["id"], user["version"], "two")[0], 412)
        self._ask(rename(_UNKNOWN_ID, 1)[0], 404)

    def _check_replays(self, dataset: Dataset) -> None:
        """Send each request twice, with a stored post after the first response."""
        for number, writer in enumerate(_spread(dataset.writers)):
            request, expected = new_post(writer["id"], number, uuid4().hex)
            response = self._check_new_post(request, expected)
            self._same("a replay", self._ask(request, 201), response)

    def _check_searches(self, dataset: Dataset) -> None:
        for query in _spread(dataset.topics):
            posts = dataset.newest_posts_about(query)
            self._check_page(self._ask(search(query), 200), posts[:PAGE], has_next=len(posts) > PAGE)

    def _check_pages(self, author: Row, posts: list[Row]) -> None:
        """Compare the first page, and the one that its cursor leads to."""
        cursor = None
        for start in (0, PAGE):
            page = self._ask(newest_posts(author, cursor), 200)
            self._check_page(page, posts[start : start + PAGE], has_next=len(posts) > start + PAGE)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _check_page(self, page: Any, posts: Sequence[Row], *, has_next: bool) -> None:
        expected = [shown(post) for post in posts]
        found = page["items"]
        if len(found) != len(expected) or (page["next_cursor"] is not None) != has_next:
            self._refuse("a page", page, expected)
        for one, other in zip(found, expected, strict=True):
            self._same("a post", one, other)

    def _check_new_post(self, request: RequestSpec, expected: Mapping[str, str]) -> Any:
        """Return the response to a request that creates a post, after a comparison with the stored row."""
        response = self._ask(request, 201)
        created_at = response["created_at"]
        fixed = {"status": "draft", "published_at": None, "created_at": created_at, "updated_at": created_at}
        self._same("a new post", response, {**expected, **fixed, "version": 1})
        self._same("a stored post", shown(self._server.deployment.database.await_post(response["id"])), response)
        return response

    def _ask(self, request: RequestSpec, status: int) -> Any:
        found, body = self._server.ask(request)
        if found != status:
            self._refuse(f"{request.method} {request.path}", f"{found} {body[:300].decode(errors='replace')}", status)
        self.responses += 1
        return json.loads(body)

    def _same(self, what: str, found: Any, expected: Mapping[str, Any]) -> None:
        if not _comparable(expected).items() <= _comparable(found).items():
            self._refuse(what, found, expected)
        self.extra |= found.keys() - expected.keys() - {"id"}

    def _refuse(self, what: str, found: object, expected: object) -> None:
        name = self._server.service.name
        raise WrongResponseError(f"{name}: wrong value of {what}:\nactual   {found}\nexpected {expected}")


def check_responses(
    servers: Sequence[Server], dataset: Dataset, work: Sequence[Workload], report: Callable[[str], None]
) -> None:
    """Compare the responses of all servers with the rows, then restore the rows. Raises WrongResponseError."""
    keys = dict.fromkeys(key for each in work for key in (MIX if each.key == "W4" else [each.key]))
    for server in servers:
        checker = Checker(server)
        for key in keys:
            checker.check(dataset, key)
        extra = f" with additional {', '.join(sorted(checker.extra))}" if checker.extra else ""
        report(f"{server.service.key} gave {checker.responses} correct responses{extra}")
        server.deployment.database.restore(dataset)


def _comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with times in milliseconds, because some languages have no smaller unit."""
    return {
        name: int(datetime.fromisoformat(value).timestamp() * 1000) if value and name.endswith("_at") else value
        for name, value in row.items()
    }


def _spread(rows: Sequence[T]) -> list[T]:
    """Return some of the rows, the first and the last one included."""
    return [*rows[:: max(1, len(rows) // 10)], rows[-1]]
