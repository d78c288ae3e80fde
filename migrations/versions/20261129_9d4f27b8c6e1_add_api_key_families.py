"""add api key families

Revision ID: 9d4f27b8c6e1
Revises: e7a9c2d41b60
Created: 2026-11-29 11:04:00+00:00
"""

import sqlalchemy as sa

from migrations.operations import op

revision = "9d4f27b8c6e1"
down_revision = "e7a9c2d41b60"
branch_labels = None
depends_on = None

phase = "expand"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("family_id", sa.Uuid(), nullable=True), if_not_exists=True)
    op.add_column("api_keys", sa.Column("family_secret", sa.LargeBinary(), nullable=True), if_not_exists=True)
    op.add_check("ck_api_keys_family_secret_length", "api_keys", "octet_length(family_secret) = 32")
    op.add_check("ck_api_keys_family_complete", "api_keys", "(family_id IS NULL) = (family_secret IS NULL)")


def downgrade() -> None:
    op.drop_column("api_keys", "family_secret")
    op.drop_column("api_keys", "family_id")
