"""Tests for the revisions that `make migration` writes."""

from typing import cast

import pytest
from alembic import command
from alembic.script import Script

from migrations.lint.linter import lint_revision
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase
from tests.migrations.revision_fixtures import EXPAND_HEAD, RevisedDatabase


def _write(database: RevisedDatabase, phase: Phase = Phase.EXPAND) -> tuple[Script, str]:
    """Apply all revisions, then write one of the phase. Return it and its text, with one space between words."""
    database.upgrade(phase=Phase.CONTRACT)
    path = str(database.directory)
    script = cast(
        "Script", command.revision(database.config(phase=phase), "more", autogenerate=True, version_path=path)
    )
    text = " ".join((database.directory / script.path).read_text().split())
    return script, text.replace("( ", "(").replace(", )", ")").replace("'", '"')


def test_new_revision_follows_the_last_of_its_phase(database: RevisedDatabase) -> None:
    phases = Phase.EXPAND, Phase.CONTRACT, Phase.EXPAND, Phase.CONTRACT
    first, contract, second, more = (_write(database, phase)[0] for phase in phases)
    assert [script.down_revision for script in (first, contract, second, more)] == [
        EXPAND_HEAD,
        first.revision,
        first.revision,
        contract.revision,
    ]
    assert (more.dependencies, second.dependencies) == (second.revision, None)
    assert [script.module.phase for script in (first, contract)] == ["expand", "contract"]
    assert (contract.module.safe_from, hasattr(first.module, "safe_from")) == ("0.1.0", False)


def test_new_revision_is_rejected_after_two_lines_of_a_phase(database: RevisedDatabase) -> None:
    for name in ("one", "two"):
        database.last = EXPAND_HEAD
        database.add("pass", revision=name)
    with pytest.raises(MigrationError, match="must form one line; heads: "):
        _write(database)


DIFFERENCES = {
    "DROP INDEX ix_posts_published_id": (
        """op.create_index_concurrently("ix_posts_published_id", "posts", ["id"], unique=False, """,
        """op.drop_index_concurrently("ix_posts_published_id", "posts")""",
    ),
    "CREATE UNIQUE INDEX i ON users (email)": (
        """op.drop_index_concurrently("i", "users")""",
        """op.create_index_concurrently(op.f("i"), "users", ["email"], unique=True)""",
    ),
    "ALTER TABLE users DROP CONSTRAINT uq_users_email_normalized": (
        """op.add_unique("uq_users_email_normalized", "users", ["email_normalized"])""",
        """op.drop_constraint_if_exists("uq_users_email_normalized", "users")""",
    ),
    "ALTER TABLE posts DROP CONSTRAINT fk_posts_author_id_users": (
        """op.add_foreign_key("fk_posts_author_id_users", "posts", "users", ["author_id"], ["id"], ondelete="CASC""",
        """op.drop_constraint_if_exists("fk_posts_author_id_users", "posts")""",
    ),
    "ALTER TABLE users DROP CONSTRAINT ck_users_full_name_length": (
        """op.add_check("ck_users_full_name_length", "users", "char_length(full_name) BETWEEN 1 AND 200")""",
        """op.drop_constraint_if_exists("ck_users_full_name_length", "users")""",
    ),
    "ALTER TABLE users ADD CONSTRAINT c CHECK (version > 0)": (
        """op.drop_constraint_if_exists("c", "users")""",
        """op.add_check("c", "users", "version > 0")""",
    ),
    "ALTER TABLE users ALTER email DROP NOT NULL, ALTER version DROP NOT NULL": (
        """op.add_not_null("users", "email")""",
        """op.drop_not_null("users", "email")""",
    ),
    "ALTER TABLE users DROP full_name; ALTER TABLE users ALTER email DROP NOT NULL": (
        """op.add_column("users", sa.Column("full_name", sa.Text(), nullable=True), if_not_exists=True)""",
        """op.drop_column("users", "full_name", if_exists=True)""",
    ),
}


@pytest.mark.parametrize("change", DIFFERENCES)
def test_new_revision_uses_safe_operations(database: RevisedDatabase, change: str) -> None:
    database.execute(change)
    before = [line for line in database.schema if "full_name" not in line]
    script, text = _write(database)
    assert [code for code in DIFFERENCES[change] if code not in text] == []
    assert {finding.rule for finding in lint_revision(script)} <= {"ban-drop-constraint"}
    database.upgrade()
    command.check(database.config())
    database.downgrade()
    assert [line for line in database.schema if "full_name" not in line] == before


def test_new_revision_uses_plain_operations_without_safe_ones(database: RevisedDatabase) -> None:
    database.execute("DROP TABLE idempotency_records")
    script, text = _write(database)
    assert "from migrations.operations import op" in text
    assert [code in text for code in ("op.create_index(", "concurrently", "if_not_exists")] == [True, False, False]
    assert [str(finding) for finding in lint_revision(script)] == []
