"""What a name that is taken already stands for: what the revision asks for, or something else.

The server is asked for the definition of both in its own words; what is asked for is made on empty tables of the same
names for that, in another session, of which nothing remains.
"""

from sqlalchemy import Executable, text

from migrations.operations.steps import StepRunner, escaped
from migrations.runner.lock_retry import MigrationError

_INDEX = "SELECT pg_get_indexdef(to_regclass(quote_ident(:name)), 0, true)"
_CONSTRAINT = """
    SELECT regexp_replace(pg_get_constraintdef(oid, true), ' NOT VALID$', '') FROM pg_constraint
    WHERE conrelid = to_regclass(quote_ident(:on)) AND conname = :name
"""


def require_same_index(run: StepRunner, name: str, create: Executable, *, table: str) -> None:
    """Raise MigrationError when the index of that name is not what the statement makes; `table` is SQL."""
    _same(run, _INDEX, create, table, None, name=name)


def require_same_constraint(
    run: StepRunner, name: str, add: str, *, on: str, table: str, referent: str | None = None
) -> None:
    """Raise MigrationError when the constraint of that name is not what the statement adds, validated or not.

    `table`, its name as SQL, may reference `referent`.
    """
    _same(run, _CONSTRAINT, escaped(add), table, referent, name=name, on=on)


def _same(
    run: StepRunner, question: str, statement: Executable, table: str, referent: str | None, **parameters: str
) -> None:
    row = run.fetch_one(question, **parameters)
    there = None if row is None else row[0]
    with run.rolled_back_connection() as connection:
        for each in dict.fromkeys([table, referent or table]):
            keys = " INCLUDING INDEXES" if each == referent else ""
            connection.execute(text(f"CREATE TEMPORARY TABLE {each} (LIKE {each}{keys})"))
        connection.execute(statement)
        wanted = connection.execute(text(question), parameters).scalar_one()
    if there != wanted:
        name = parameters["name"]
        raise MigrationError(f"{name} on {table} is there already and is something else: {there}; not {wanted}")
