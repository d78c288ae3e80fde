"""add published posts index

Revision ID: 5d1f0c7a9b24
Revises: a14e5ab6726e
Created: 2026-11-21 07:05:00+00:00
"""

import sqlalchemy as sa

from migrations.operations import op

revision = "5d1f0c7a9b24"
down_revision = "a14e5ab6726e"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.create_index_concurrently(
        "ix_posts_published_id", "posts", ["id"], postgresql_where=sa.text("status = 'published'")
    )


def downgrade() -> None:
    op.drop_index_concurrently("ix_posts_published_id", "posts")
