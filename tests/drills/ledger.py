"""What was acknowledged, and whether the database agrees."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import URL

from tests.drills.load.exchange import ACKNOWLEDGED, REFUSED
from tests.drills.load.jobs import Attempt
from tests.support.databases import connected

Rows = Mapping[str, Sequence[str]]
"""The ids of the rows by the name of the operation that was to store them."""


_ROWS = """
    SELECT name, id FROM (SELECT email, id FROM users UNION ALL SELECT title, id FROM posts) AS stored (name, id)
    WHERE name !~ %s
"""


def rows(database: URL, *, but_for: str = "^$") -> Rows:
    """Return what is stored, whose operations are named by the address of a user and the title of a post.

    Names that match `but_for` are those of rows that no operation is about.
    """
    found: dict[str, list[str]] = {}
    with connected(database) as connection:
        for name, id_ in connection.execute(_ROWS, [but_for]):
            found.setdefault(str(name), []).append(str(id_))
    return found


@dataclass(frozen=True, slots=True)
class Ledger:
    """The last attempts at all operations, beside what is stored. Each list is of reasons: one for each operation."""

    last: Mapping[str, Attempt]
    stored: Rows

    @classmethod
    def of(cls, attempts: Sequence[Attempt], stored: Rows) -> "Ledger":
        """Return the ledger of a load."""
        return cls({attempt.operation: attempt for attempt in attempts if attempt.is_last}, stored)

    @property
    def acknowledged(self) -> Mapping[str, Attempt]:
        """The operations that were acknowledged."""
        return {name: last for name, last in self.last.items() if last.outcome == ACKNOWLEDGED}

    def unacknowledged(self) -> list[str]:
        """Return the operations that never were."""
        return [described(last) for last in self.last.values() if last.outcome != ACKNOWLEDGED]

    def lost(self) -> list[str]:
        """Return the operations that were acknowledged and are not stored."""
        return [f"{name} was acknowledged and is not stored" for name in self.acknowledged if name not in self.stored]

    def duplicates(self) -> list[str]:
        """Return the operations that are stored more than once."""
        stored = {name: len(self.stored.get(name, ())) for name in self.last}
        return [f"{name} is stored {times} times" for name, times in stored.items() if times > 1]

    def misnamed(self) -> list[str]:
        """Return the operations whose answer names another row than the one that is stored."""
        reasons = []
        for name, last in self.acknowledged.items():
            ids = {json.loads(last.body)["id"], last.headers["location"].rpartition("/")[2]}
            if name in self.stored and ids != set(self.stored[name]):
                reasons.append(f"{name} was answered with {sorted(ids)} and is stored as {sorted(self.stored[name])}")
        return reasons

    def strangers(self, known: Sequence[str]) -> list[str]:
        """Return what is stored that no operation asked for, and that was not known before."""
        return [
            f"{name} is stored and nobody asked for it" for name in self.stored.keys() - self.last.keys() - {*known}
        ]


def described(last: Attempt) -> str:
    """Return how an operation ended."""
    problem = f" {_problem(last)}" if last.outcome == REFUSED else ""
    request = f", request {identity}" if (identity := last.headers.get("x-request-id")) else ""
    ended = f"{last.operation} ended {last.outcome} with status {last.status}{problem}{request}"
    return f"{ended} after {last.number} attempts and {last.done - last.due:.2f} s"


def _problem(attempt: Attempt) -> str:
    """Return the kind of problem that a refusal names."""
    named = attempt.headers.get("content-type", "").startswith("application/problem+json")
    return str(json.loads(attempt.body)["type"]) if named else "and no problem"
