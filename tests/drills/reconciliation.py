"""Comparison of acknowledged operations with stored rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import URL

from adapters.testing.template_databases import connected
from tests.drills.load.http_connection import ACKNOWLEDGED, REFUSED
from tests.drills.load.load_job import Attempt

Rows = Mapping[str, Sequence[str]]
"""Row ids by operation name."""

_ROWS = """
    SELECT name, id::text FROM (SELECT email, id FROM users UNION ALL SELECT title, id FROM posts) AS stored (name, id)
    WHERE name !~ %s
"""


def rows(database: URL, *, but_for: str = "^$") -> Rows:
    """Return the stored rows by e-mail address or title, except names that match the pattern `but_for`."""
    found: dict[str, list[str]] = {}
    with connected(database) as connection:
        for name, id_ in connection.execute(_ROWS, [but_for]):
            found.setdefault(str(name), []).append(str(id_))
    return found


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Last attempts by operation, and the stored rows. Each method returns a reason per wrong operation."""

    last: Mapping[str, Attempt]
    stored: Rows

    @classmethod
    def of(cls, attempts: Sequence[Attempt], stored: Rows) -> "Reconciliation":
        return cls({attempt.operation: attempt for attempt in attempts if attempt.is_last}, stored)

    @property
    def acknowledged(self) -> Mapping[str, Attempt]:
        return {name: last for name, last in self.last.items() if last.outcome == ACKNOWLEDGED}

    def unacknowledged(self) -> list[str]:
        return [describe(last) for last in self.last.values() if last.outcome != ACKNOWLEDGED]

    def lost(self) -> list[str]:
        return [f"{name} was acknowledged and is not stored" for name in self.acknowledged if name not in self.stored]

    def duplicates(self) -> list[str]:
        stored = {name: len(self.stored.get(name, ())) for name in self.last}
        return [f"{name} is stored {times} times" for name, times in stored.items() if times > 1]

    def wrong_ids(self) -> list[str]:
        reasons = []
        for name, last in self.acknowledged.items():
            ids = {json.loads(last.body)["id"], last.headers["location"].rpartition("/")[2]}
            if name in self.stored and ids != set(self.stored[name]):
                reasons.append(f"{name} returned {sorted(ids)} and is stored as {sorted(self.stored[name])}")
        return reasons

    def unexpected_rows(self, known: Sequence[str]) -> list[str]:
        return [f"{name} is stored without a request" for name in self.stored.keys() - self.last.keys() - {*known}]


def describe(last: Attempt) -> str:
    problem = f" {_problem(last)}" if last.outcome == REFUSED else ""
    request = f", request {identity}" if (identity := last.headers.get("x-request-id")) else ""
    ended = f"{last.operation} ended {last.outcome} with status {last.status}{problem}{request}"
    return f"{ended} after {last.number} attempts and {last.done - last.due:.2f} s"


def _problem(attempt: Attempt) -> str:
    is_problem = attempt.headers.get("content-type", "").startswith("application/problem+json")
    return str(json.loads(attempt.body)["type"]) if is_problem else "without a problem document"
