"""Attempts that show drills the one and the other."""

from collections.abc import Mapping

from tests.drills.load.exchange import ACKNOWLEDGED, REFUSED, UNKNOWN
from tests.drills.load.jobs import Attempt

SHED = {"retry-after": "1", "content-type": "application/problem+json"}


def attempt(due: float = 0.0, took: float = 0.01, outcome: str = ACKNOWLEDGED, status: int = 200) -> Attempt:
    """Return an attempt that was due then, took so many seconds and ended so."""
    body = '{"type": "/problems/overloaded"}'
    headers: Mapping[str, str] = SHED if outcome == REFUSED else {}
    return Attempt(
        operation="drill 1",
        number=1,
        due=due,
        sent=due,
        done=due + took,
        outcome=outcome,
        status=status,
        headers=headers,
        body=body,
        is_last=True,
    )


GOOD = attempt()
BUSY = attempt(outcome=REFUSED, status=503)
SILENT = attempt(outcome=UNKNOWN, status=0)
