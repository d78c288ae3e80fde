"""Whether the database answers, and has the schema that this release needs."""

from collections.abc import Mapping

from adapters.postgres.database import Database
from adapters.postgres.migrations import SchemaState, schema_state
from application.ports import StorageOverloadedError, TransientError

_SCHEMA = {
    SchemaState.CURRENT: (True, "current"),
    SchemaState.BEHIND: (False, "behind this release: run the migrations"),
    SchemaState.AHEAD: (True, "ahead of this release"),
}


async def readiness(database: Database) -> Mapping[str, tuple[bool, str]]:
    """Return, by name, whether each thing is ready that requests need, and a word about it that anyone may read."""
    try:
        schema = await schema_state(database)
    except StorageOverloadedError:
        # Busy is not broken: a service that works at full speed stays in rotation.
        return {"database": (True, "busy"), "migrations": (True, "not asked")}
    except TransientError:
        return {"database": (False, "unreachable"), "migrations": (False, "unknown")}
    return {"database": (True, "reachable"), "migrations": _SCHEMA[schema]}
