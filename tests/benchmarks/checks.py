"""Checks the responses of each service before the measurement."""

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from tests.benchmarks.dataset import Dataset, Row, shown
from tests.benchmarks.errors import WrongResponseError
from tests.benchmarks.servers import Server
from tests.benchmarks.workloads import PAGE, new_post, newest_posts, read_user
from tests.drills.load.load_job import RequestSpec

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

    def check(self, dataset: Dataset) -> None:
        """Check all responses. Raises WrongResponseError at the first wrong one."""
        self._same("the liveness", self._ask(RequestSpec(method="GET", path="/livez"), 200), {"status": "ok"})
        for user in _spread(dataset.users):
            self._same("a user", self._ask(read_user(user["id"]), 200), shown(user))
        for author in _spread(dataset.prolific):
            self._check_pages(author, dataset.newest_posts(author))
        for number, writer in enumerate(_spread(dataset.writers)):
            self._check_new_post(writer, number)
        self._ask(read_user(_UNKNOWN_ID), 404)
        self._ask(new_post(_UNKNOWN_ID, 0)[0], 422)
        self._ask(new_post(dataset.inactive["id"], 0)[0], 409)

    def _check_pages(self, author: Row, posts: list[Row]) -> None:
        """Compare the first page, and the one that its cursor leads to."""
        cursor = None
        for start in (0, PAGE):
            page = self._ask(newest_posts(author, cursor), 200)
            expected = [shown(post) for post in posts[start : start + PAGE]]
            found, cursor = page["items"], page["next_cursor"]
            if len(found) != len(expected) or (cursor is not None) != (len(posts) > start + PAGE):
                self._refuse("a page", page, expected)
            for one, other in zip(found, expected, strict=True):
                self._same("a post", one, other)
            if cursor is None:
                return

    def _check_new_post(self, writer: Row, number: int) -> None:
        request, expected = new_post(writer["id"], number)
        response = self._ask(request, 201)
        created_at = response["created_at"]
        fixed = {"status": "draft", "published_at": None, "created_at": created_at, "updated_at": created_at}
        self._same("a new post", response, {**expected, **fixed, "version": 1})
        self._same("a stored post", shown(self._server.deployment.database.await_post(response["id"])), response)

    def _ask(self, request: RequestSpec, status: int) -> Any:
        found, body = self._server.ask(request)
        if found != status:
            self._refuse(f"{request.method} {request.path}", f"{found} {body[:300].decode(errors='replace')}", status)
        self.responses += 1
        return json.loads(body)

    def _same(self, what: str, found: Any, expected: Row) -> None:
        if not expected.items() <= found.items():
            self._refuse(what, found, expected)
        self.extra |= found.keys() - expected.keys() - {"id"}

    def _refuse(self, what: str, found: object, expected: object) -> None:
        name = self._server.service.name
        raise WrongResponseError(f"{name}: wrong value of {what}:\nactual   {found}\nexpected {expected}")


def check_responses(servers: Sequence[Server], dataset: Dataset, report: Callable[[str], None]) -> None:
    """Compare the responses of all servers with the rows. Remove the new posts. Raises WrongResponseError."""
    for server in servers:
        checker = Checker(server)
        checker.check(dataset)
        extra = f" with additional {', '.join(sorted(checker.extra))}" if checker.extra else ""
        report(f"{server.service.key} gave {checker.responses} correct responses{extra}")
        server.deployment.database.remove_posts_after(dataset.posts[-1]["id"])


def _spread(rows: Sequence[Row]) -> list[Row]:
    """Return some of the rows, the first and the last one included."""
    return [*rows[:: max(1, len(rows) // 10)], rows[-1]]
