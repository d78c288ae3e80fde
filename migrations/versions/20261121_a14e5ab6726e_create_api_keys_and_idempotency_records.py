"""create api keys and idempotency records

Revision ID: a14e5ab6726e
Revises: ccc0279a8e0d
Created: 2026-11-21 05:36:08+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "a14e5ab6726e"
down_revision = "ccc0279a8e0d"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("pepper", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("cardinality(scopes) >= 1", name=op.f("ck_api_keys_scopes_some")),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 100", name=op.f("ck_api_keys_name_length")),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_api_keys_digest_length")),
        sa.CheckConstraint("pepper >= 1", name=op.f("ck_api_keys_pepper_positive")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_user_id"), "api_keys", ["user_id"], unique=False)
    op.create_table(
        "idempotency_records",
        sa.Column("api_key_id", sa.Uuid(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(response) <= 65536", name=op.f("ck_idempotency_records_response_length")),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name=op.f("ck_idempotency_records_fingerprint_length")),
        sa.CheckConstraint("octet_length(key_hash) = 32", name=op.f("ck_idempotency_records_key_hash_length")),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_idempotency_records_api_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("api_key_id", "key_hash", name=op.f("pk_idempotency_records")),
    )
    op.create_index(op.f("ix_idempotency_records_expires_at"), "idempotency_records", ["expires_at"], unique=False)
    op.create_index(
        op.f("ix_idempotency_records_subject_id"),
        "idempotency_records",
        ["subject_id"],
        unique=False,
        postgresql_where=sa.text("subject_id IS NOT NULL AND response <> ''"),
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_idempotency_records_subject_id"),
        table_name="idempotency_records",
        postgresql_where=sa.text("subject_id IS NOT NULL AND response <> ''"),
    )
    op.drop_index(op.f("ix_idempotency_records_expires_at"), table_name="idempotency_records")
    op.drop_table("idempotency_records")
    op.drop_index(op.f("ix_api_keys_user_id"), table_name="api_keys")
    op.drop_table("api_keys")
