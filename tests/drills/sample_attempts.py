"""Sample attempts for tests."""

from tests.drills.load.http_connection import ACKNOWLEDGED, REFUSED, UNKNOWN
from tests.drills.load.load_job import Attempt

SHED = {"retry-after": "1", "content-type": "application/problem+json"}


def attempt(due: float = 0.0, took: float = 0.01, outcome: str = ACKNOWLEDGED, status: int = 200) -> Attempt:
    return Attempt(
        operation="drill 1",
        kind="POST /api/v1/posts",
        number=1,
        due=due,
        sent=due,
        done=due + took,
        outcome=outcome,
        status=status,
        headers=SHED if outcome == REFUSED else {},
        body='{"type": "/problems/overloaded"}',
        is_last=True,
    )


GOOD = attempt()
BUSY = attempt(outcome=REFUSED, status=503)
SILENT = attempt(outcome=UNKNOWN, status=0)
