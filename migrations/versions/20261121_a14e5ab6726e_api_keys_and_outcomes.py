"""api keys and outcomes

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
        "outcomes",
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(answer) <= 65536", name=op.f("ck_outcomes_answer_length")),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name=op.f("ck_outcomes_fingerprint_length")),
        sa.CheckConstraint("octet_length(name) = 32", name=op.f("ck_outcomes_name_length")),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_outcomes_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", "name", name=op.f("pk_outcomes")),
    )
    op.create_index(op.f("ix_outcomes_expires_at"), "outcomes", ["expires_at"], unique=False)
    op.create_index(
        op.f("ix_outcomes_subject_id"),
        "outcomes",
        ["subject_id"],
        unique=False,
        postgresql_where=sa.text("subject_id IS NOT NULL AND answer <> ''"),
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_outcomes_subject_id"),
        table_name="outcomes",
        postgresql_where=sa.text("subject_id IS NOT NULL AND answer <> ''"),
    )
    op.drop_index(op.f("ix_outcomes_expires_at"), table_name="outcomes")
    op.drop_table("outcomes")
    op.drop_index(op.f("ix_api_keys_user_id"), table_name="api_keys")
    op.drop_table("api_keys")
