"""Measurement of the requests per second that the service can handle on this machine."""

from collections.abc import Sequence
from dataclasses import replace

from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import Attempt, LoadJob, RequestSpec
from tests.drills.load.load_runner import run_load
from tests.drills.scenario import ScenarioError
from tests.drills.verifications import beginning

CLIENTS = 16
FIRST_NUMBER = 1_000_000_000
"""Larger than any number of the load that follows."""
WARM_UP = 0.25
"""Share of the time that does not count, because caches are cold."""


def measure_capacity(
    job: LoadJob, operations: Sequence[RequestSpec], *, seconds: float
) -> tuple[float, Sequence[Attempt]]:
    """Return the requests per second, and the attempts of the measurement."""
    job = replace(job, operations=operations, clients=CLIENTS, rate=None, seconds=seconds, first=FIRST_NUMBER)
    attempts = run_load(job)
    begun, warm = beginning(attempts), WARM_UP * seconds
    counted = [one for one in attempts if one.outcome == ACKNOWLEDGED and warm < one.done - begun <= seconds]
    if not counted:
        raise ScenarioError("the service acknowledges no request without a fault")
    return len(counted) / (seconds - warm), attempts
