"""Reads CHECK constraints, indexes and functions as PostgreSQL reports them, from the database and from the models."""

from typing import NamedTuple

from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError

_SCHEMA = "hexapost_models"
_SEARCH_PATH = text(f"SELECT set_config('search_path', '{_SCHEMA}, ' || current_setting('search_path'), true)")
_OBJECTS = text(
    r"""
    WITH relation AS (
        SELECT pg_class.oid, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind IN ('r', 'p') AND nspname = current_schema()
    ), object (oid, kind, on_table, name, definition, detail) AS (
        SELECT oid, 'table', relname, '', '', '' FROM relation
        UNION ALL
        SELECT pg_constraint.oid, 'check', relname, conname, pg_get_constraintdef(pg_constraint.oid, true),
            pg_get_expr(conbin, conrelid, true)
        FROM pg_constraint JOIN relation ON relation.oid = conrelid WHERE contype = 'c'
        UNION ALL
        SELECT indexrelid, 'index', relation.relname, class.relname,
            pg_get_indexdef(indexrelid, 0, true) || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END,
            jsonb_strip_nulls(jsonb_build_object(
                'unique', nullif(indisunique, false), 'postgresql_using', nullif(amname, 'btree'),
                'postgresql_where', pg_get_expr(indpred, indrelid, true), 'postgresql_include',
                (SELECT jsonb_agg(attname) FROM pg_attribute WHERE attrelid = indexrelid AND attnum > indnkeyatts),
                'postgresql_nulls_not_distinct', nullif(indnullsnotdistinct, false), 'postgresql_with',
                (SELECT jsonb_object_agg(option_name, option_value) FROM pg_options_to_table(reloptions))
            ))::text
        FROM pg_index JOIN relation ON relation.oid = indrelid JOIN pg_class AS class ON class.oid = indexrelid
        JOIN pg_am ON pg_am.oid = relam
        WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT proc.oid, 'function', '', format('%I(%s)', proname, oidvectortypes(proargtypes)),
            replace(pg_get_functiondef(proc.oid), format(' %I.%I(', nspname, proname), format(' %I(', proname)),
            concat_ws(' ', prokind, pg_get_function_arguments(proc.oid), pg_get_function_result(proc.oid))
        FROM pg_proc AS proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
        LEFT JOIN pg_depend ON classid = 'pg_proc'::regclass AND objid = proc.oid AND deptype = 'e'
        WHERE nspname = current_schema() AND prokind <> 'a' AND classid IS NULL
    )
    SELECT kind, on_table, name, definition, detail FROM object ORDER BY oid
    """.replace("::", r"\:\:")
)


class SchemaObject(NamedTuple):
    """A table, check, index or function, as PostgreSQL reports it. The name of a function has its argument types.

    `detail` is the expression of a check, the options of an index as JSON, or what CREATE OR REPLACE cannot change.
    """

    kind: str
    table: str
    name: str
    definition: str
    detail: str


Catalog = dict[tuple[str, ...], SchemaObject]
"""The objects of a schema by kind, table and name, in order of creation."""


def read_catalog(connection: Connection) -> Catalog:
    """Return the objects of the current schema, without extensions and indexes of constraints."""
    return {tuple(row[:3]): SchemaObject(*row) for row in connection.execute(_OBJECTS)}


def read_models(connection: Connection, metadata: MetaData) -> Catalog:
    """Return the objects that `metadata.create_all` creates in a scratch schema. Roll the schema back."""
    with connection.begin_nested() as savepoint:
        try:
            connection.execute(text(f"CREATE SCHEMA {_SCHEMA}"))
            connection.execute(_SEARCH_PATH)
            metadata.create_all(connection, checkfirst=False)
            return read_catalog(connection)
        except DBAPIError as error:
            raise CommandError(f"cannot create the tables of the models: {error.orig}") from error
        finally:
            savepoint.rollback()
