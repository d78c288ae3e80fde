"""add retention indexes

Revision ID: f3b61a7d92c4
Revises: 9d4f27b8c6e1
Created: 2026-11-29 11:07:00+00:00
"""

import sqlalchemy as sa

from migrations.operations import op

revision = "f3b61a7d92c4"
down_revision = "9d4f27b8c6e1"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.create_index_concurrently(
        "ix_posts_unpublished_created_at",
        "posts",
        ["status", "created_at"],
        postgresql_where=sa.text("status <> 'published'"),
    )
    op.create_index_concurrently(
        "ix_users_inactive_created_at", "users", ["created_at"], postgresql_where=sa.text("NOT is_active")
    )


def downgrade() -> None:
    op.drop_index_concurrently("ix_users_inactive_created_at", "users")
    op.drop_index_concurrently("ix_posts_unpublished_created_at", "posts")
