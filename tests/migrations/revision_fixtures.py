"""Revisions that a test writes, after those of the release, and rows for them."""

import asyncio
import io
import textwrap
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.testing.template_databases import Connection
from migrations.runner.alembic_config import alembic_config
from migrations.runner.lock_retry import LockRetryPolicy
from migrations.runner.phases import expand_heads
from tests.support.database_fixture import WAITING
from tests.support.polling import wait_until
from tests.support.schema_dump import revisions, schema

_SCRIPTS = ScriptDirectory.from_config(alembic_config())
(EXPAND_HEAD,) = expand_heads(_SCRIPTS)
HEADS = sorted(_SCRIPTS.get_heads())
"""The applied revisions after both phases: two if an expand revision is newer than the last contract revision."""
(CONTRACT_HEAD,) = set(HEADS) - {EXPAND_HEAD} or {EXPAND_HEAD}
FEW_RETRIES = LockRetryPolicy(attempts=3, lock_timeout=0.05, max_backoff=0.01)
MANY_RETRIES = LockRetryPolicy(attempts=1000, lock_timeout=0.02, max_backoff=0.02)
USERS = """
    INSERT INTO users (id, email, email_normalized, is_active, created_at, updated_at, version)
    SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', true, now(), now(), 1 FROM generate_series(1, %s) n
"""
SAFE_OPERATIONS = """
    op.add_column("users", sa.Column("a", sa.Integer(), server_default="1"), if_not_exists=True)
    op.backfill("posts", "title = title || '%'", key=("author_id", "id"), batch=300)
    op.backfill(
        "users", "a = computed.a", compute=lambda email: {"a": len(email)}, columns=["email"], computed={"a": "integer"}
    )
    op.add_not_null("users", "full_name")
    op.create_index_concurrently("ix_t", "posts", ["title"], postgresql_where=sa.text("version > 0"))
    op.add_unique("uq_t", "users", ["email"])
    op.add_check("ck_t", "users", "version > 0 OR a > 0")
    op.add_foreign_key("fk_t", "idempotency_records", "users", ["subject_id"], ["id"])
"""


class Revisions:
    """A directory of revisions beside those of the release."""

    def __init__(self, directory: Path, url: URL | None = None) -> None:
        self.directory = directory
        self.url = url
        self.last = EXPAND_HEAD
        self.policy = FEW_RETRIES
        self.reported: list[str] = []

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

    def config(self, url: URL | None = None, **attributes: Any) -> Config:
        """Return a configuration; `attributes` are the options that env.py reads."""
        defaults = {"url": url or self.url, "report": self.reported.append, "lock_retry_policy": self.policy}
        config = alembic_config(**(defaults | attributes))
        locations = [str(Path(str(config.get_main_option("script_location"))) / "versions"), str(self.directory)]
        config.set_main_option("version_locations", ":".join(locations).replace("%", "%%"))
        return config

    def scripts(self) -> ScriptDirectory:
        """Return the revisions of the release and of this directory."""
        return ScriptDirectory.from_config(self.config())

    def sql(self, target: str = "heads", **attributes: Any) -> str:
        """Return the SQL of an upgrade."""
        config = self.config(**attributes)
        config.output_buffer = output = io.StringIO()
        command.upgrade(config, target, sql=True)
        return output.getvalue()


class RevisedDatabase(Revisions):
    """A database, a session on it, and revisions that a test applies to it."""

    def __init__(self, directory: Path, url: URL, session: Connection) -> None:
        super().__init__(directory, url)
        self.url: URL = url
        self._session = session

    def upgrade(self, target: str = "heads", **attributes: Any) -> None:
        """Apply the revisions up to the target."""
        command.upgrade(self.config(**attributes), target)

    def downgrade(self, target: str = "-1") -> None:
        """Undo the revisions down to the target."""
        command.downgrade(self.config(), target)

    def execute(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement, and return its rows."""
        cursor = self._session.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def insert_users(self, number: int = 100) -> None:
        """Insert users with version 1 and without a name."""
        self._session.execute(USERS, [number])

    async def wait_for_lock_wait(self, task: asyncio.Task[None]) -> None:
        """Wait until a session of the task waits for a lock, or the task is done."""
        await wait_until(lambda: task.done() or self.execute(WAITING) != [(0,)])

    @property
    def schema(self) -> list[str]:
        """The schema as lines."""
        return schema(self.url)

    @property
    def applied(self) -> list[str]:
        """The applied revisions."""
        return revisions(self.url)
