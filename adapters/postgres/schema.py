"""Which revisions of the schema the database has."""

from sqlalchemy import Text, column, select, table

from adapters.postgres.database import Database
from adapters.postgres.session import Session

_APPLIED = select(column("version_num", Text)).select_from(table("alembic_version"))
_UNDEFINED_TABLE = "42P01"


async def applied_revisions(database: Database) -> frozenset[str]:
    """Return the revisions that were applied, none for an empty database.

    Raises a TransientError when the database cannot be asked now.
    """
    session = Session(database, readonly=True)
    try:
        rows = await session.fetch(_APPLIED, {})
    except BaseException as error:
        await session.rollback()
        if getattr(error, "sqlstate", None) == _UNDEFINED_TABLE:
            return frozenset()
        raise
    await session.commit()
    return frozenset(row[0] for row in rows)
