"""Tests for the revisions that `make migration` writes."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import cast

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import Script
from alembic.util import CommandError

from adapters.postgres.models import POSTS, USERS, Base
from migrations.lint.linter import lint_revision
from migrations.runner.lock_retry import MigrationError
from migrations.runner.revisions import Phase
from tests.migrations.revision_fixtures import CONTRACT_HEAD, EXPAND_HEAD, RevisedDatabase

FUNCTION = (
    "CREATE OR REPLACE FUNCTION twice(given bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS "
    "$$ BEGIN RETURN 2 * given; END $$"
)


@pytest.fixture
def database(database: RevisedDatabase) -> RevisedDatabase:
    """A database after both phases, whose schema equals the models."""
    database.upgrade(phase=Phase.CONTRACT)
    return database


@pytest.fixture
def _function(database: RevisedDatabase) -> Iterator[None]:
    """A function and an index that uses it, in the models and in the database."""
    create = sa.DDL(FUNCTION)  # type: ignore[no-untyped-call]
    sa.event.listen(Base.metadata, "before_create", create)
    index = sa.Index("ix_twice", sa.func.twice(POSTS.c.version))
    database.execute(FUNCTION)
    database.execute("CREATE INDEX ix_twice ON posts (twice(version))")
    yield
    POSTS.indexes.remove(index)
    sa.event.remove(Base.metadata, "before_create", create)


def _write(database: RevisedDatabase, phase: Phase = Phase.EXPAND) -> tuple[Script, str]:
    """Write a revision of the phase. Return it and its text, with one space between words."""
    path = str(database.directory)
    script = cast(
        "Script", command.revision(database.config(phase=phase), "more", autogenerate=True, version_path=path)
    )
    text = " ".join((database.directory / script.path).read_text().split())
    return script, text.replace("( ", "(").replace(", )", ")").replace("'", '"')


def _write_and_apply(database: RevisedDatabase, phase: Phase) -> Script:
    script, _ = _write(database, phase)
    database.upgrade(phase=Phase.CONTRACT)
    return script


def test_new_revision_follows_the_last_of_its_phase(database: RevisedDatabase) -> None:
    phases = Phase.EXPAND, Phase.CONTRACT, Phase.EXPAND, Phase.CONTRACT
    first, contract, second, more = [_write_and_apply(database, phase) for phase in phases]
    assert [script.down_revision for script in (first, contract, second, more)] == [
        EXPAND_HEAD,
        CONTRACT_HEAD,
        first.revision,
        contract.revision,
    ]
    assert [script.dependencies for script in (first, contract, second, more)] == [
        None,
        first.revision,
        None,
        second.revision,
    ]
    assert [script.module.phase for script in (first, contract)] == ["expand", "contract"]
    assert (contract.module.safe_from, hasattr(first.module, "safe_from")) == (version("hexapost"), False)


def test_new_revision_is_rejected_after_two_lines_of_a_phase(database: RevisedDatabase) -> None:
    for name in ("one", "two"):
        database.last = EXPAND_HEAD
        database.add("pass", revision=name)
    database.upgrade(phase=Phase.CONTRACT)
    with pytest.raises(MigrationError, match="must form one line; heads: "):
        _write(database)


DIFFERENCES = {
    "DROP INDEX ix_posts_published_id": (
        """op.create_index_concurrently("ix_posts_published_id", "posts", ["id"], """,
        """op.drop_index_concurrently("ix_posts_published_id", "posts")""",
    ),
    "CREATE UNIQUE INDEX i ON users (email)": (
        """op.drop_index_concurrently("i", "users")""",
        """op.create_index_concurrently("i", "users", ["email"], unique=True)""",
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
        """op.add_check("ck_users_full_name_length", "users", "char_length(full_name) >= 1 AND char_length""",
        """op.drop_constraint_if_exists("ck_users_full_name_length", "users")""",
    ),
    "ALTER TABLE users ADD CONSTRAINT c CHECK (version > 0)": (
        """op.drop_constraint_if_exists("c", "users")""",
        """op.add_check("c", "users", "version > 0")""",
    ),
    "ALTER TABLE users DROP CONSTRAINT ck_users_version_positive, "
    "ADD CONSTRAINT ck_users_version_positive CHECK (email NOT LIKE '% :b\\:c%' AND version::text > ':a')": (
        """"users") op.add_check("ck_users_version_positive", "users", "version >= 1")""",
        """op.add_check("ck_users_version_positive", "users", "email !~~""",
    ),
    "ALTER TABLE users DROP CONSTRAINT ck_users_version_positive, "
    "ADD CONSTRAINT ck_users_version_positive CHECK (version >= 1) NOT VALID": (
        """op.add_check("ck_users_version_positive", "users", "version >= 1")""",
    ),
    "CREATE INDEX i ON posts (id) WHERE status = 'draft' AND title <> ' :b'": (
        """op.drop_index_concurrently("i", "posts")""",
        """["id"], postgresql_where=sa.text(""",
    ),
    "DROP INDEX ix_posts_published_id; CREATE INDEX ix_posts_published_id ON posts (id) WHERE status = 'draft'": (
        """, "posts") op.create_index_concurrently("ix_posts_published_id", "posts", ["id"], """,
        """postgresql_where=sa.text("status = "draft"::text")""",
    ),
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_posts_id'::regclass": (
        """("ix_posts_id", "posts") op.create_index_concurrently("ix_posts_id", "posts", ["id"]""",
    ),
    "DROP INDEX ix_posts_title_tokens": (
        """op.create_index_concurrently("ix_posts_title_tokens", "posts", ["title_tokens", "text_tokens"], """,
        'postgresql_using="gin"',
        """postgresql_with={"fastupdate": "off"}""",
        """op.drop_index_concurrently("ix_posts_title_tokens", "posts")""",
    ),
    'CREATE UNIQUE INDEX i ON users (lower(email) COLLATE "C" text_pattern_ops DESC, (version + 1)) '
    "INCLUDE (id, version) NULLS NOT DISTINCT WITH (fillfactor = 70)": (
        """op.drop_index_concurrently("i", "users")""",
        """postgresql_nulls_not_distinct=True""",
    ),
    "DROP INDEX ix_twice; CREATE INDEX ix_twice ON posts (twice(1 + version))": (
        """op.create_index_concurrently("ix_twice", "posts", [sa.text("twice(version)")])""",
        """op.create_index_concurrently("ix_twice", "posts", [sa.text("twice(1 + version)")])""",
    ),
    'CREATE FUNCTION "F(:a"(a int, text) RETURNS int LANGUAGE plpgsql AS '
    "$$ BEGIN RETURN ':b \\:c' || a::text || '%'; END $$": (
        r"""op.execute("DROP ROUTINE IF EXISTS "F(\\:a"(integer, text)")""",
        r"""op.execute("CREATE OR REPLACE FUNCTION "F(\\:a"(a integer, text)\n" " RETURNS integer\n" """,
    ),
    "CREATE PROCEDURE p(a int) LANGUAGE sql BEGIN ATOMIC UPDATE posts SET version = a; END": (
        """op.execute("DROP ROUTINE IF EXISTS p(integer)")""",
        """op.execute("CREATE OR REPLACE PROCEDURE p(IN a integer)""",
    ),
    "CREATE OR REPLACE FUNCTION twice(given bigint) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN 2 * given": (
        """op.execute("CREATE OR REPLACE FUNCTION twice(given bigint)\\n" """,
        """RETURN (2 * given)""",
    ),
    "DROP FUNCTION twice CASCADE; "
    "CREATE FUNCTION twice(other bigint) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT other::text'": (
        """op.execute("DROP ROUTINE IF EXISTS twice(bigint)") op.execute("CREATE OR REPLACE FUNCTION twice""",
    ),
    "DROP FUNCTION twice CASCADE": (
        """op.execute("CREATE OR REPLACE FUNCTION twice(given bigint)""",
        """op.execute("DROP ROUTINE IF EXISTS twice(bigint)")""",
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


@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options'")  # SQLAlchemy, for NOT VALID
@pytest.mark.usefixtures("_function")
@pytest.mark.parametrize("change", DIFFERENCES)
def test_new_revision_uses_safe_operations(database: RevisedDatabase, change: str) -> None:
    database.execute(change)
    before = [line.removesuffix(" NOT VALID") for line in database.schema if "full_name" not in line]
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        command.check(database.config())
    script, text = _write(database)
    assert [code for code in DIFFERENCES[change] if code not in text] == []
    assert {finding.rule for finding in lint_revision(script)} <= {"ban-drop-constraint", "ban-drop-function"}
    database.upgrade()
    command.check(database.config())
    database.downgrade(f"{script.revision}@-1")
    assert [line for line in database.schema if "full_name" not in line] == before


@pytest.mark.usefixtures("_function")
@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE idempotency_records",
        "DROP TABLE posts; DROP FUNCTION twice",
    ],
)
def test_new_revision_uses_plain_operations_without_safe_ones(database: RevisedDatabase, change: str) -> None:
    expected = database.schema
    database.execute(change)
    before = database.schema
    script, text = _write(database)
    assert "from migrations.operations import op" in text
    assert [code in text for code in ("op.create_index(", "concurrently", "if_not_exists")] == [True, False, False]
    assert [str(finding) for finding in lint_revision(script)] == []
    database.upgrade()
    command.check(database.config())
    assert database.schema == expected
    database.downgrade(f"{script.revision}@-1")
    assert database.schema == before


def test_new_revision_restores_dropped_table_in_its_downgrade(database: RevisedDatabase) -> None:
    for statement in (
        "CREATE TABLE old (id int PRIMARY KEY, name text, CONSTRAINT c CHECK (name <> 'b'))",
        "CREATE INDEX i ON old (lower(name) DESC) WHERE id > 0",
        "CREATE INDEX j ON old (name text_pattern_ops)",
    ):
        database.execute(statement)
    before = database.schema
    script, _ = _write(database)
    database.upgrade()
    command.check(database.config())
    database.downgrade(f"{script.revision}@-1")
    assert database.schema == before


def test_functions_of_extensions_are_no_difference(database: RevisedDatabase) -> None:
    database.execute("CREATE EXTENSION pg_trgm")
    command.check(database.config())


def test_models_that_cannot_be_created_are_an_error(database: RevisedDatabase) -> None:
    index = sa.Index("i", sa.text("missing"), _table=USERS)
    try:
        with pytest.raises(CommandError, match=r'cannot create the tables of the models: .*"missing"'):
            command.check(database.config())
    finally:
        USERS.indexes.remove(index)
    assert database.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'hexapost_models'") == [(0,)]
