"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision or "nothing"}
Created: ${create_date}
"""

import sqlalchemy as sa

from migrations.operations import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

# "expand": the release before this one goes on as if nothing had happened. "contract": from a release on nobody misses
# what goes here; it is applied when nothing older runs any more (make migrate PHASE=contract).
phase = "${phase}"
% if phase == "contract":
safe_from = "${release}"
% endif


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
