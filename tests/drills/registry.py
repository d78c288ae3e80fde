"""All drills by name."""

from collections.abc import Mapping

from tests.drills.drill import Drill
from tests.drills.exactly_once import EXACTLY_ONCE

DRILLS: Mapping[str, Drill] = {drill.name: drill for drill in (EXACTLY_ONCE,)}
