"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision or "base"}
Created: ${create_date}
"""

import sqlalchemy as sa

from migrations.operations import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

# "expand": the previous release works with this revision. "contract": it breaks releases before safe_from, and
# `make migrate PHASE=contract` applies it after all processes run that release.
phase = "${phase}"
% if phase == "contract":
safe_from = "${release}"
% endif


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
