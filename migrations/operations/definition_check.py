"""Compares an existing index or constraint with the one that a revision creates."""

from sqlalchemy import Executable, text

from migrations.operations.steps import StepRunner
from migrations.runner.lock_retry import MigrationError


def require_same_definition(
    run: StepRunner, query: str, create: Executable, *, table: str, referent: str | None = None, **parameters: str
) -> None:
    """Raise MigrationError if the existing object differs from the one that `create` makes.

    `query` returns the server's text of a definition. `create` runs on empty temporary tables with the same names, in
    a second session that is rolled back. `table` and `referent` are SQL names.
    """
    row = run.fetch_one(query, **parameters)
    if row is None or run.connection is None:
        raise MigrationError(f"{parameters['name']} on {table} was dropped while the migration ran; run it again")
    with run.connection.engine.connect() as connection:
        for each in dict.fromkeys([table, referent or table]):
            keys = " INCLUDING INDEXES" if each == referent else ""
            connection.execute(text(f"CREATE TEMPORARY TABLE {each} (LIKE {each}{keys})"))
        connection.execute(create)
        expected = connection.execute(text(query), parameters).scalar_one()
    if row[0] != expected:
        raise MigrationError(
            f"{parameters['name']} on {table} exists with another definition: {row[0]}; expected: {expected}"
        )
