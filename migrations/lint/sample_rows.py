"""Rows for the tracer: each table is filled as soon as it is there, so that later revisions have something to scan."""

from sqlalchemy import Connection, text

_USERS = """
    INSERT INTO users (id, email, email_normalized, full_name, is_active, created_at, updated_at, version)
    SELECT md5(n::text)::uuid, n || '@example.org', n || '@example.org', 'Number ' || n, true, now(), now(), 1
    FROM generate_series(1, :rows / 100) AS n
"""
_POSTS = """
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version)
    SELECT md5((1 + n % (:rows / 100))::text)::uuid, md5('post ' || n)::uuid, 'Title ' || n, repeat('Words. ', 20),
           'published', now(), now(), now(), 1
    FROM generate_series(1, :rows) AS n
"""
_API_KEYS = """
    INSERT INTO api_keys (id, name, scopes, pepper, digest, created_at)
    SELECT md5('key ' || n)::uuid, 'key ' || n, ARRAY['posts:read'], 1, sha256(n::text::bytea), now()
    FROM generate_series(1, :rows / 100) AS n
"""
_OUTCOMES = """
    INSERT INTO idempotency_records (api_key_id, key_hash, fingerprint, response, created_at, expires_at)
    SELECT md5('key ' || (1 + n % (:rows / 100)))::uuid, sha256(n::text::bytea), sha256('f'), 'answer', now(), now()
    FROM generate_series(1, :rows / 10) AS n
"""
_INSERTS = {"users": _USERS, "posts": _POSTS, "api_keys": _API_KEYS, "idempotency_records": _OUTCOMES}
MIN_ROWS = 100

_TABLES = text("""
    SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
    AND relname NOT LIKE 'alembic%' ORDER BY relname
""")


class MissingSampleRowsError(Exception):
    """There is a table that nobody says how to fill."""


def insert_sample_rows(connection: Connection, rows: int, filled: set[str]) -> None:
    """Fill the tables that are new, `rows` posts and in proportion.

    Raises MissingSampleRowsError for one not listed here.
    """
    there = {str(name) for (name,) in connection.execute(_TABLES)}
    filled &= there
    if unknown := there - _INSERTS.keys():
        raise MissingSampleRowsError(
            f"migrations/lint/sample_rows.py does not say how to fill {', '.join(sorted(unknown))}"
        )
    for table in [table for table in _INSERTS if table in there - filled]:
        connection.execute(text(_INSERTS[table].replace("::", r"\:\:")), {"rows": max(rows, MIN_ROWS)})
        filled.add(table)
    connection.commit()
    connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    connection.commit()
    connection.execution_options(isolation_level="READ COMMITTED")
