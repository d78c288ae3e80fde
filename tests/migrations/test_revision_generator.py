"""Tests for the revisions that `make migration` writes."""

from typing import cast

import pytest
from alembic import command
from alembic.script import Script
from sqlalchemy import URL

from migrations.lint.linter import lint_revision
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase
from tests.migrations.revision_fixtures import EXPAND_HEAD, Revisions
from tests.support.schema_dump import schema
from tests.support.template_databases import connected, with_driver


def _write(own: Revisions, url: URL, phase: Phase) -> Script:
    """Apply all revisions, then write one of the phase."""
    config = own.config(with_driver(url, "psycopg"))
    config.attributes["phase"] = Phase.CONTRACT
    command.upgrade(config, "heads")
    config.attributes["phase"] = phase
    return cast("Script", command.revision(config, "more", autogenerate=True, version_path=str(own.directory)))


def test_new_revision_follows_the_last_of_its_phase(scratch: URL, own: Revisions) -> None:
    first = _write(own, scratch, Phase.EXPAND)
    contract = _write(own, scratch, Phase.CONTRACT)
    second = _write(own, scratch, Phase.EXPAND)
    more = _write(own, scratch, Phase.CONTRACT)
    assert [script.down_revision for script in (first, contract, second, more)] == [
        EXPAND_HEAD,
        first.revision,
        first.revision,
        contract.revision,
    ]
    assert (more.dependencies, second.dependencies) == (second.revision, None)
    assert [script.module.phase for script in (first, contract)] == ["expand", "contract"]
    assert (contract.module.safe_from, hasattr(first.module, "safe_from")) == ("0.1.0", False)


def test_new_revision_is_rejected_after_two_lines_of_a_phase(scratch: URL, own: Revisions) -> None:
    for name in ("one", "two"):
        own.last = EXPAND_HEAD
        own.add("pass", revision=name)
    with pytest.raises(MigrationError, match="must form one line; heads: "):
        _write(own, scratch, Phase.EXPAND)


def test_new_revision_contains_found_differences(scratch: URL, own: Revisions) -> None:
    with connected(scratch) as connection:
        connection.execute("ALTER TABLE users DROP COLUMN full_name")
    script = _write(own, scratch, Phase.EXPAND)
    written = (own.directory / script.path).read_text()
    assert 'op.add_column("users", sa.Column("full_name"' in written.replace("'", '"')
    assert "from migrations.operations import op" in written


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
def test_new_revision_uses_safe_operations(scratch: URL, own: Revisions, change: str) -> None:
    with connected(scratch) as connection:
        connection.execute(change.encode())
        before = [line for line in schema(scratch) if "full_name" not in line]
    script = _write(own, scratch, Phase.EXPAND)
    written = " ".join((own.directory / script.path).read_text().split()).replace("( ", "(").replace(", )", ")")
    for code in DIFFERENCES[change]:
        assert code in written.replace("'", '"')
    refused = [finding.rule for finding in lint_revision(script)]
    assert set(refused) <= {"ban-drop-constraint"}
    config = own.config(with_driver(scratch, "psycopg"))
    command.upgrade(config, "heads")
    command.check(config)
    command.downgrade(config, "-1")
    assert [line for line in schema(scratch) if "full_name" not in line] == before


def test_new_revision_creates_plain_indexes_for_new_table(scratch: URL, own: Revisions) -> None:
    with connected(scratch) as connection:
        connection.execute("DROP TABLE idempotency_records")
    script = _write(own, scratch, Phase.EXPAND)
    written = (own.directory / script.path).read_text()
    assert ("op.create_index(" in written, "concurrently" in written, "if_not_exists" in written) == (
        True,
        False,
        False,
    )
    assert [str(finding) for finding in lint_revision(script)] == []
