"""reserve space for updates

Revision ID: e7a9c2d41b60
Revises: c83e6b0d4f17
Created: 2026-11-29 08:12:00+00:00
"""

from migrations.operations import op

revision = "e7a9c2d41b60"
down_revision = "c83e6b0d4f17"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    # With free space in its page, an update that changes no indexed column writes no index (HOT). For 200 posts in
    # different pages, that was 0.1 MB of WAL in 5 ms instead of up to 7.6 MB in 55 ms. Only new pages get the space.
    op.execute("ALTER TABLE users SET (fillfactor = 85)")
    op.execute("ALTER TABLE posts SET (fillfactor = 85)")


def downgrade() -> None:
    op.execute("ALTER TABLE posts RESET (fillfactor)")
    op.execute("ALTER TABLE users RESET (fillfactor)")
