"""Measurement of the requests per second that the service can handle on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.drills.drill import DrillError
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import Attempt, Job, Operation
from tests.drills.load.loading import loaded
from tests.drills.verdicts import beginning

CLIENTS = 16
FIRST_NUMBER = 1_000_000_000
"""Larger than any number of the load that follows."""
WARM_UP = 0.25
"""Share of the time that does not count, because caches are cold."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Requests per second, and the attempts of the measurement."""

    rate: float
    attempts: Sequence[Attempt]


def capacity(job: Job, operations: Sequence[Operation], *, seconds: float) -> Capacity:
    job = replace(job, operations=operations, clients=CLIENTS, rate=None, seconds=seconds, first=FIRST_NUMBER)
    attempts = loaded(job)
    begun, warm = beginning(attempts), WARM_UP * seconds
    counted = [one for one in attempts if one.outcome == ACKNOWLEDGED and warm < one.done - begun <= seconds]
    if not counted:
        raise DrillError("the service acknowledges no request without a fault")
    return Capacity(len(counted) / (seconds - warm), attempts)
