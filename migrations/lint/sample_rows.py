"""Inserts sample rows into new tables, so that later revisions scan and rewrite rows."""

from sqlalchemy import Connection, text

from migrations.runner.lock_retry import MigrationError

_INSERTS = {
    "users": """
        INSERT INTO users (id, email, email_normalized, full_name, is_active, created_at, updated_at, version)
        SELECT md5(n::text)::uuid, n || '@example.org', n || '@example.org', 'Number ' || n, true, now(), now(), 1
        FROM generate_series(1, :rows / 100) AS n
    """,
    "posts": """
        INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version)
        SELECT md5((1 + n % (:rows / 100))::text)::uuid, md5('post ' || n)::uuid, 'Title ' || n, repeat('Words. ', 20),
               'published', now(), now(), now(), 1
        FROM generate_series(1, :rows) AS n
    """,
    "api_keys": """
        INSERT INTO api_keys (id, name, scopes, pepper, digest, created_at)
        SELECT md5('key ' || n)::uuid, 'key ' || n, ARRAY['posts:read'], 1, sha256(n::text::bytea), now()
        FROM generate_series(1, :rows / 100) AS n
    """,
    "idempotency_records": """
        INSERT INTO idempotency_records (api_key_id, key_hash, fingerprint, response, created_at, expires_at)
        SELECT md5('key ' || (1 + n % (:rows / 100)))::uuid, sha256(n::text::bytea), sha256('f'), 'answer', now(), now()
        FROM generate_series(1, :rows / 10) AS n
    """,
    "audit_entries": """
        INSERT INTO audit_entries (id, created_at, actor_kind, operation, subject_kind, subject_id, changed_fields)
        SELECT md5('entry ' || n)::uuid, now(), 'operator', 'created', 'post', md5('post ' || n)::uuid, '{}'
        FROM generate_series(1, :rows) AS n
    """,
    "erasure_receipts": """
        INSERT INTO erasure_receipts (user_id, erased_at, actor_kind, erased_rows)
        SELECT md5('erased ' || n)::uuid, now(), 'operator', '{}' FROM generate_series(1, :rows / 100) AS n
    """,
}
MIN_ROWS = 100

_TABLES = text("""
    SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
    AND relname NOT LIKE 'alembic%' ORDER BY relname
""")


def insert_sample_rows(connection: Connection, rows: int) -> None:
    """Insert sample rows into empty tables: `rows` posts, and other rows in proportion.

    Raises MigrationError for a table without an INSERT in this module.
    """
    existing = {str(name) for (name,) in connection.execute(_TABLES)}
    if unknown := existing - _INSERTS.keys():
        raise MigrationError(
            f"no sample rows for table {', '.join(sorted(unknown))}; add an INSERT to migrations/lint/sample_rows.py"
        )
    empty = [
        table
        for table in _INSERTS
        if table in existing and connection.execute(text(f"SELECT FROM {table} LIMIT 1")).first() is None
    ]
    for table in empty:
        connection.execute(text(_INSERTS[table].replace("::", r"\:\:")), {"rows": max(rows, MIN_ROWS)})
    connection.commit()
    if empty:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
        connection.commit()
        connection.execution_options(isolation_level="READ COMMITTED")
