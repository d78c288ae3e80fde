"""The schema of a database as lines that can be compared."""

from sqlalchemy import URL

from adapters.testing.template_databases import connected

DESCRIPTION = """
    SELECT format('column %s.%s %s %s default %s', table_name, column_name, data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT format('function %s %s', oid::regprocedure, md5(prosrc)) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1
"""


def schema(url: URL) -> list[str]:
    """Return a line for each column, constraint, index, function and trigger."""
    with connected(url) as connection:
        return [str(line) for (line,) in connection.execute(DESCRIPTION).fetchall()]


def revisions(url: URL) -> list[str]:
    """Return the applied revisions of the database in alphabetical order."""
    with connected(url) as connection:
        rows = connection.execute("SELECT version_num FROM alembic_version ORDER BY version_num").fetchall()
    return [str(name) for (name,) in rows]
