"""Compares the schema of a database with this release."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from packaging.version import Version
from sqlalchemy import ClauseElement, Select, Text, column, func, literal_column, select, table

from adapters.postgres.drivers import Row
from adapters.postgres.pool import Database
from adapters.postgres.session import PgSession
from adapters.postgres.sqlstate import sqlstate_of
from application.ports import TransientStorageError
from migrations.runner.revisions import Revisions, decode_applied, expand_heads, read_revisions, with_ancestors

SERVER = select(literal_column("current_setting('server_version_num')::integer"), func.getdatabaseencoding())
"""Reads the arguments of `server_support`."""
SUPPORTED_VERSIONS = range(15, 19)
_APPLIED = select(column("version_num", Text)).select_from(table("alembic_version"))
_RECORD = select(func.obj_description(literal_column("'alembic_version'::regclass"), literal_column("'pg_class'")))
_UNDEFINED_TABLE = "42P01"


class SchemaUnreadableError(TransientStorageError):
    """The schema version cannot be read, for example because of a missing privilege.

    The message contains the SQLSTATE, but no database text.
    """

    def __init__(self, error: Exception) -> None:
        state = sqlstate_of(error)
        super().__init__(f"cannot read schema version ({f'SQLSTATE {state}' if state else type(error).__name__})")


class SchemaState(StrEnum):
    """The state of a schema relative to this release."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"
    INCOMPATIBLE = "too new"


async def applied_revisions(database: Database) -> frozenset[str]:
    """Return the latest applied revisions, without their ancestors. The set is empty for an empty database.

    Raises a TransientStorageError if the database is unavailable.
    """
    return frozenset(await _query(database, _APPLIED))


def server_support(version_number: int, encoding: str) -> tuple[bool, str]:
    """Return True if the release supports a server and its database, and the error or the warning."""
    major, supported = version_number // 10_000, f"{SUPPORTED_VERSIONS[0]} to {SUPPORTED_VERSIONS[-1]}"
    if major < SUPPORTED_VERSIONS[0]:
        return False, f"PostgreSQL {major} is not supported; use version {supported}"
    if encoding != "UTF8":
        return False, f"the database has the encoding {encoding}; create a database with the encoding UTF8"
    if major > SUPPORTED_VERSIONS[-1]:
        return True, f"PostgreSQL {major} is newer than the tested versions {supported}"
    return True, ""


async def schema_state(database: Database) -> SchemaState:
    """Return the state of the schema. Raises a TransientStorageError if the database is unavailable."""
    revisions, applied = read_revisions(), await applied_revisions(database)
    if applied <= with_ancestors(revisions, applied):
        return compare_revisions(revisions, applied)
    # The record of all applied revisions that the last migration wrote.
    return compare_revisions(revisions, applied, decode_applied("".join(await _query(database, _RECORD))))


def compare_revisions(
    revisions: Revisions, applied: frozenset[str], record: Mapping[str, str | None] = MappingProxyType({})
) -> SchemaState:
    """Return the state of a schema with the given applied revisions, for a release with these revisions.

    The release works with and without its contract revisions, so they are ignored. `record` lists the revisions before
    an unknown one. For each contract revision it has the release from which it is safe.
    """
    known = with_ancestors(revisions, applied)
    needed = expand_heads(revisions)
    if applied <= known:
        return SchemaState.CURRENT if needed <= known else SchemaState.BEHIND
    # An unknown revision belongs to a later release, whose expand revisions are applied before its rollout.
    if any(release and Version(release) > Version(version("hexapost")) for release in record.values()):
        return SchemaState.INCOMPATIBLE
    return SchemaState.AHEAD if needed <= known | record.keys() else SchemaState.BEHIND


async def _query(database: Database, statement: Select[Any]) -> list[str]:
    """Return the values of a query, or no values if the table does not exist."""
    return [value for (value,) in await fetch(database, statement, {}) if value is not None]


async def fetch(database: Database, statement: ClauseElement, parameters: Mapping[str, Any]) -> Sequence[Row]:
    """Return the rows of a query, or no rows if a table does not exist.

    Raises SchemaUnreadableError, or a TransientStorageError if the database is unavailable.
    """
    session = PgSession(database, readonly=True)
    try:
        return await session.fetch(statement, parameters)
    except TransientStorageError:
        raise
    except Exception as error:
        if sqlstate_of(error) == _UNDEFINED_TABLE:
            return []
        raise SchemaUnreadableError(error) from error
    finally:
        await session.end(commit=False)
