"""Tests for expand and contract revisions."""

from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import URL

from adapters.postgres.schema.state import SchemaState, compare_revisions
from adapters.testing.template_databases import connected, with_driver
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import expand_heads, phase_of, revisions_of
from migrations.runner.revisions import Phase, Revision, decode_applied, read_revisions
from tests.migrations.revision_fixtures import CONTRACT_HEAD, EXPAND_HEAD, RevisedDatabase, Revisions

ADD = 'op.add_column("users", sa.Column("{0}", sa.Text()))'
DROP = 'op.drop_column("users", "{0}")'


def _contract(release: str, *, after: str | None = None) -> str:
    return f'phase = "contract"\nsafe_from = "{release}"\ndepends_on = {after!r}'


def _write_two_lines(own: Revisions) -> None:
    """Write two expand revisions, each followed by a contract revision in a separate line."""
    own.add(ADD.format("a"), DROP.format("a"), revision="e1")
    own.add(DROP.format("full_name"), ADD.format("full_name"), revision="c1", more=_contract("0.1.0"))
    own.last = "e1"
    own.add(ADD.format("b"), DROP.format("b"), revision="e2")
    own.last = "c1"
    own.add(DROP.format("b"), ADD.format("b"), revision="c2", more=_contract("0.1.0", after="e2"))


def _columns(database: RevisedDatabase) -> set[str]:
    return {line.split()[1] for line in database.schema if line.startswith("column users.")}


def _record(database: RevisedDatabase) -> dict[str, str | None]:
    ((record,),) = database.execute("SELECT obj_description('alembic_version'::regclass)")
    return decode_applied(str(record or ""))


def test_upgrade_applies_contract_revisions_in_contract_phase(database: RevisedDatabase) -> None:
    _write_two_lines(database)
    database.upgrade()
    assert database.applied == ["e2"]
    assert {"users.a", "users.b", "users.full_name"} <= _columns(database)
    database.upgrade(phase="contract")
    assert not {"users.b", "users.full_name"} & _columns(database)
    assert compare_revisions(revisions_of(database.scripts()), frozenset(database.applied)) is SchemaState.CURRENT
    database.downgrade(EXPAND_HEAD)
    assert (EXPAND_HEAD in database.applied, "users.a" in _columns(database)) == (True, False)
    database.upgrade(phase="contract")
    database.last = "e2"
    database.add(ADD.format("c"), revision="e3")
    database.upgrade()
    assert "users.c" in _columns(database)


def test_upgrade_of_new_database_applies_both_phases(empty: URL, own: Revisions, driver: str) -> None:
    _write_two_lines(own)
    own.add("pass", revision="c3", more=_contract("99.0.0"))
    own.add("pass", revision="c4", more=_contract("0.1.0"))
    with connected(empty) as session:
        database = RevisedDatabase(own.directory, with_driver(empty, driver), session)
        database.upgrade("b2d94f61c07e")  # ends before the contract phase
        database.downgrade("base")
        database.upgrade(lint=True)
        assert sorted(database.applied) == ["c2", CONTRACT_HEAD]
        assert not {"users.b", "users.full_name"} & _columns(database)
        with pytest.raises(MigrationError, match=r"c3 is safe from release 99\.0\.0"):
            database.upgrade(phase="contract")


def test_interrupted_upgrade_of_new_database_gets_the_expand_phase(empty: URL, own: Revisions, driver: str) -> None:
    _write_two_lines(own)
    with connected(empty) as session:
        database = RevisedDatabase(own.directory, with_driver(empty, driver), session)

        def stop_at_second(line: str) -> None:
            if "ccc0279a8e0d" not in line:
                raise KeyboardInterrupt(line)

        with pytest.raises(KeyboardInterrupt, match="applied revision"):
            database.upgrade(report=stop_at_second)
        database.upgrade()
        assert database.applied == ["e2"]
        database.upgrade(phase="contract")
        assert sorted(database.applied) == ["c2", CONTRACT_HEAD]


@pytest.mark.parametrize(
    ("applied", "record", "expected"),
    [
        ("", "", SchemaState.BEHIND),
        (EXPAND_HEAD, "", SchemaState.BEHIND),
        ("c1", "", SchemaState.BEHIND),
        ("e2", "", SchemaState.CURRENT),
        ("e2 c1", "", SchemaState.CURRENT),
        ("c2", "", SchemaState.CURRENT),
        ("e3 c1", "", SchemaState.BEHIND),
        ("e3 e2", "", SchemaState.AHEAD),
        ("e3", "", SchemaState.BEHIND),
        ("e3", "e1 e3", SchemaState.BEHIND),
        ("e3", "e1 e2 e3", SchemaState.AHEAD),
        ("e3", "e1 e2 e3 c1>=0.1.0 c3>=0.1", SchemaState.AHEAD),
        ("e3", "e1 e2 e3 c1>=0.1.0 c3>=99.0.0", SchemaState.INCOMPATIBLE),
    ],
)
def test_schema_state_depends_on_expand_revisions_and_record(
    own: Revisions, applied: str, record: str, expected: SchemaState
) -> None:
    _write_two_lines(own)
    assert expand_heads(own.scripts()) == {"e2"}
    assert (
        compare_revisions(revisions_of(own.scripts()), frozenset(applied.split()), decode_applied(record)) is expected
    )


def test_migration_updates_the_record(database: RevisedDatabase) -> None:
    _write_two_lines(database)
    database.upgrade(phase="contract")
    assert {"e1": None, "e2": None, "c1": "0.1.0", EXPAND_HEAD: None}.items() <= _record(database).items()
    database.downgrade("c2@-1")
    assert _record(database).keys() & {"e1", "e2", "c1", "c2"} == {"e1", "e2", "c1"}
    command.stamp(database.config(), "e2")
    assert _record(database).keys() >= {"e1", "e2"}
    database.downgrade("base")
    assert _record(database) == {}


@pytest.mark.parametrize(
    ("safe", "release", "compatible"),
    [
        ("0.2", "0.2.0", True),
        ("0.2.0", "0.2", True),
        ("0.2.0", "0.2.0rc1", False),
        ("0.2.0", "0.10.0", True),
        ("99.0.0", None, False),
    ],
)
def test_upgrade_rejects_contract_revision_of_later_release(
    own: Revisions, safe: str, release: str | None, compatible: bool
) -> None:
    own.add("pass", more=_contract(safe), revision="c1")
    error = rf"c1 is safe from release {safe}; this is {release or version('hexapost')}"
    with nullcontext() if compatible else pytest.raises(MigrationError, match=error):
        own.sql(phase="contract", release=release)


def test_upgrade_rejects_expand_revision_after_contract_revision(own: Revisions) -> None:
    own.add(DROP.format("full_name"), more=_contract("0.1.0"), revision="c1")
    own.add(ADD.format("a"), revision="e1")
    with pytest.raises(MigrationError, match="expand revision e1 follows contract revision c1"):
        own.sql(phase="expand")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("phase = None", "declares no phase"),
        ("phase = 'soon'", "declares no phase"),
        ("phase = 'contract'", "has no valid safe_from"),
        ("phase = 'contract'; safe_from = 'next'", "has no valid safe_from"),
    ],
)
def test_phase_of_rejects_revision_without_phase(own: Revisions, more: str, message: str) -> None:
    own.add("pass", more=more)
    with pytest.raises(MigrationError, match=message):
        phase_of(own.scripts().get_revision(own.last))


def test_migration_sql_has_contract_revisions_in_contract_phase(own: Revisions) -> None:
    _write_two_lines(own)
    expand, contract = (own.sql(phase=phase) for phase in Phase)
    assert ("DROP COLUMN" in expand, contract.count("DROP COLUMN")) == (False, 2)
    assert "SET lock_timeout = 50" in expand


def test_revisions_read_from_files_are_those_of_alembic(own: Revisions) -> None:
    _write_two_lines(own)
    in_files = {**read_revisions(), **read_revisions(own.directory)}
    assert in_files == revisions_of(own.scripts())
    assert in_files["c2"].parents == {"c1", "e2"}


def test_revisions_read_from_files_have_literal_declarations(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import os\nrevision: str = 'abcdef'\ndown_revision: str | None = None\nphase = 'expand'\n"
    )
    (tmp_path / "b.py").write_text(
        "revision = 'b1'\ndown_revision = ('abcdef',)\ndepends_on = 'abc'\nother = os.name\n"
    )
    (tmp_path / "__init__.py").write_text("")
    assert read_revisions(tmp_path) == {
        "abcdef": Revision(frozenset(), "expand"),
        "b1": Revision(frozenset({"abcdef"}), None),
    }
