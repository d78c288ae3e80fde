"""How many requests a second the service answers on this machine, now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.drills.drill import DrillError
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import Attempt, Job, Operation
from tests.drills.load.loading import beginning, loaded

CLIENTS = 16
SETTLE_SECONDS = 60.0
FIRST_NUMBER = 1_000_000_000
"""Far from the numbers of the load that follows."""
FIRST = 0.25
"""The share of the time that is not counted: caches are cold."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Requests a second, and the attempts that showed it."""

    rate: float
    attempts: Sequence[Attempt]


def capacity(job: Job, operations: Sequence[Operation], *, seconds: float) -> Capacity:
    """Return the rate at which that many clients are answered that send one request after the other."""
    job = replace(job, operations=operations, clients=CLIENTS, rate=None, seconds=seconds, first=FIRST_NUMBER)
    attempts = loaded(job, seconds=seconds + SETTLE_SECONDS)
    begun, warm = beginning(attempts), FIRST * seconds
    counted = [one for one in attempts if one.outcome == ACKNOWLEDGED and warm < one.done - begun <= seconds]
    if not counted:
        raise DrillError("without a fault, no request is answered")
    return Capacity(len(counted) / (seconds - warm), attempts)
