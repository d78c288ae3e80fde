"""All drills by name."""

from collections.abc import Mapping

from tests.drills.cancelled_requests import CANCELLED_REQUESTS
from tests.drills.database_outages import DATABASE_KILLED, DATABASE_RESTARTS
from tests.drills.erasure import ERASURE
from tests.drills.exactly_once import EXACTLY_ONCE
from tests.drills.frozen_database import FROZEN_DATABASE
from tests.drills.migrations import MIGRATIONS
from tests.drills.overload import OVERLOAD
from tests.drills.rolling_restart import ROLLING_RESTART
from tests.drills.scenario import Scenario
from tests.drills.service_killed import SERVICE_KILLED
from tests.drills.steady_load import STEADY_LOAD
from tests.drills.transaction_conflicts import CONFLICTS

_ALL = (
    STEADY_LOAD,
    OVERLOAD,
    CANCELLED_REQUESTS,
    EXACTLY_ONCE,
    CONFLICTS,
    FROZEN_DATABASE,
    DATABASE_RESTARTS,
    DATABASE_KILLED,
    SERVICE_KILLED,
    ROLLING_RESTART,
    ERASURE,
    MIGRATIONS,
)
DRILLS: Mapping[str, Scenario] = {drill.name: drill for drill in _ALL}
