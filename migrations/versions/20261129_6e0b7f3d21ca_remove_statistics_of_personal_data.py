"""remove statistics of personal data

Revision ID: 6e0b7f3d21ca
Revises: b2d94f61c07e
Created: 2026-11-29 15:20:00+00:00
"""

from migrations.operations import op

revision = "6e0b7f3d21ca"
down_revision = "b2d94f61c07e"
branch_labels = None
depends_on = None

phase = "expand"
exceptions = {"opaque-function-call": "the block only calls pg_clear_attribute_stats"}

COLUMNS = {
    "users": ("email", "email_normalized", "full_name"),
    "posts": ("title", "content"),
    "api_keys": ("name",),
    "idempotency_records": ("response",),
}


def upgrade() -> None:
    # ANALYZE copies values into pg_statistic, where they remain after an erasure. No plan needs those of these columns.
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
    # ANALYZE keeps the values that it has already copied.
    calls = " ".join(
        f"PERFORM pg_clear_attribute_stats(current_schema()::text, '{table}', '{column}', false);"
        for table, columns in COLUMNS.items()
        for column in columns
    )
    op.execute(f"DO $$ BEGIN IF current_setting('server_version_num')::int >= 180000 THEN {calls} END IF; END $$")


def downgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS -1")
