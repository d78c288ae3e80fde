"""All drills by name."""

from collections.abc import Mapping

from tests.drills.cancelled import CANCELLED_REQUESTS
from tests.drills.conflicts import CONFLICTS
from tests.drills.drill import Drill
from tests.drills.exactly_once import EXACTLY_ONCE
from tests.drills.frozen_database import FROZEN_DATABASE
from tests.drills.migrations import MIGRATIONS
from tests.drills.outages import DATABASE_KILLED, DATABASE_RESTARTS
from tests.drills.overload import OVERLOAD
from tests.drills.rolling_restart import ROLLING_RESTART
from tests.drills.service_killed import SERVICE_KILLED
from tests.drills.steady_load import STEADY_LOAD

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
    MIGRATIONS,
)
DRILLS: Mapping[str, Drill] = {drill.name: drill for drill in _ALL}
