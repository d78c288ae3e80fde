"""Inserts sample rows into new tables, so that later revisions scan and rewrite rows."""

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
_IDEMPOTENCY_RECORDS = """
    INSERT INTO idempotency_records (api_key_id, key_hash, fingerprint, response, created_at, expires_at)
    SELECT md5('key ' || (1 + n % (:rows / 100)))::uuid, sha256(n::text::bytea), sha256('f'), 'answer', now(), now()
    FROM generate_series(1, :rows / 10) AS n
"""
_INSERTS = {"users": _USERS, "posts": _POSTS, "api_keys": _API_KEYS, "idempotency_records": _IDEMPOTENCY_RECORDS}
MIN_ROWS = 100

_TABLES = text("""
    SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
    AND relname NOT LIKE 'alembic%' ORDER BY relname
""")


class MissingSampleRowsError(Exception):
    """A table has no sample rows here."""


def insert_sample_rows(connection: Connection, rows: int, filled: set[str]) -> None:
    """Insert sample rows into new tables: `rows` posts, and other rows in proportion. Update `filled`.

    Raises MissingSampleRowsError for a table without an INSERT in this module.
    """
    existing = {str(name) for (name,) in connection.execute(_TABLES)}
    filled &= existing
    if unknown := existing - _INSERTS.keys():
        raise MissingSampleRowsError(
            f"no sample rows for table {', '.join(sorted(unknown))}; add an INSERT to migrations/lint/sample_rows.py"
        )
    new = [table for table in _INSERTS if table in existing - filled]
    for table in new:
        connection.execute(text(_INSERTS[table].replace("::", r"\:\:")), {"rows": max(rows, MIN_ROWS)})
        filled.add(table)
    connection.commit()
    if new:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
        connection.commit()
        connection.execution_options(isolation_level="READ COMMITTED")
