"""create audit entries and erasure receipts

Revision ID: 4c8e1d9a73b5
Revises: 6e0b7f3d21ca
Created: 2026-11-29 15:25:00+00:00
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from migrations.operations import op

revision = "4c8e1d9a73b5"
down_revision = "6e0b7f3d21ca"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("changed_fields", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("version_before", sa.BigInteger(), nullable=True),
        sa.Column("version_after", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entries"),
    )
    op.create_index("ix_audit_entries_subject_id_id", "audit_entries", ["subject_id", "id"])
    op.create_index(
        "ix_audit_entries_actor_id_id",
        "audit_entries",
        ["actor_id", "id"],
        postgresql_where=sa.text("actor_id IS NOT NULL"),
    )
    op.create_index(
        "ix_audit_entries_user_id_id",
        "audit_entries",
        ["user_id", "id"],
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    # ANALYZE copies values into pg_statistic, where they would remain after an erasure. Plans do not need them.
    op.execute("ALTER TABLE audit_entries ALTER COLUMN request_id SET STATISTICS 0")
    op.create_table(
        "erasure_receipts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("erased_rows", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_erasure_receipts"),
    )


def downgrade() -> None:
    op.drop_table("erasure_receipts")
    op.drop_table("audit_entries")
