"""Revisions that a test writes, after those of the release, and rows for them."""

import textwrap
from collections.abc import Callable
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from migrations.runner.alembic_config import alembic_config
from migrations.runner.lock_retry import LockRetryPolicy
from migrations.runner.phases import expand_heads
from tests.support.template_databases import Connection

(EXPAND_HEAD,) = expand_heads(ScriptDirectory.from_config(alembic_config()))
FEW_RETRIES = LockRetryPolicy(attempts=3, lock_timeout=0.05, max_backoff=0.01)
MANY_RETRIES = LockRetryPolicy(attempts=1000, lock_timeout=0.02, max_backoff=0.02)
USERS = """
    INSERT INTO users (id, email, email_normalized, is_active, created_at, updated_at, version)
    SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', true, now(), now(), 1 FROM generate_series(1, %s) n
"""


def insert_users(connection: Connection, number: int) -> None:
    """Insert users with version 1 and without a name."""
    connection.execute(USERS, [number])


class Revisions:
    """A directory of revisions beside those of the release."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.last = EXPAND_HEAD

    def add(
        self, upgrade: str, downgrade: str = "pass", *, revision: str | None = None, doc: str = "", more: str = ""
    ) -> str:
        """Write a revision after the last one and return its name."""
        name = revision or f"test{len(list(self.directory.iterdir())):04}"
        body = "\n".join(
            [
                f'"""{doc or f"Test {name}"}"""',
                "import sqlalchemy as sa",
                "from migrations.operations import op",
                f"revision = {name!r}",
                f"down_revision = {self.last!r}",
                "" if "phase" in more else 'phase = "expand"',
                textwrap.dedent(more),
                f"def upgrade() -> None:\n{textwrap.indent(textwrap.dedent(upgrade), '    ')}",
                f"def downgrade() -> None:\n{textwrap.indent(textwrap.dedent(downgrade), '    ')}",
            ]
        )
        (self.directory / f"{name}.py").write_text(body)
        self.last = name
        return name

    def config(
        self,
        url: URL | None = None,
        *,
        policy: LockRetryPolicy = FEW_RETRIES,
        report: Callable[[str], None] = lambda _: None,
    ) -> Config:
        """Return a configuration for a database, or for SQL output without one."""
        config = alembic_config(url=url)
        locations = [str(Path(str(config.get_main_option("script_location"))) / "versions"), str(self.directory)]
        config.set_main_option("version_locations", ":".join(locations).replace("%", "%%"))
        config.attributes |= {"report": report, "lock_retry_policy": policy}
        return config
