"""Tests for expand and contract revisions."""

import io
from contextlib import nullcontext

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.postgres.schema.state import SchemaState, compare_revisions
from migrations.runner.alembic_config import alembic_config
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase, decode_applied, expand_heads, phase_of
from tests.migrations.revision_fixtures import EXPAND_HEAD, Revisions
from tests.support.schema_dump import revisions, schema
from tests.support.template_databases import connected

ADD = 'op.add_column("users", sa.Column("{0}", sa.Text()))'
DROP = 'op.drop_column("users", "{0}")'


def _contract(release: str, *, after: str | None = None) -> str:
    return f'phase = "contract"\nsafe_from = "{release}"\ndepends_on = {after!r}'


@pytest.fixture
def lines(own: Revisions) -> Revisions:
    """Two expand revisions, each followed by a contract revision in a separate line."""
    own.add(ADD.format("a"), DROP.format("a"), revision="e1")
    own.add(DROP.format("full_name"), ADD.format("full_name"), revision="c1", more=_contract("0.1.0"))
    own.last = "e1"
    own.add(ADD.format("b"), DROP.format("b"), revision="e2")
    own.last = "c1"
    own.add(DROP.format("b"), ADD.format("b"), revision="c2", more=_contract("0.1.0", after="e2"))
    return own


def _columns(url: URL) -> set[str]:
    return {line.split()[1] for line in schema(url) if line.startswith("column users.")}


def test_upgrade_applies_contract_revisions_in_contract_phase(scratch: URL, lines: Revisions) -> None:
    config = lines.config(scratch)
    command.upgrade(config, "heads")
    assert revisions(scratch) == ["e2"]
    assert {"users.a", "users.b", "users.full_name"} <= _columns(scratch)
    config.attributes["phase"] = "contract"
    command.upgrade(config, "heads")
    assert not {"users.b", "users.full_name"} & _columns(scratch)
    scripts = ScriptDirectory.from_config(config)
    assert compare_revisions(scripts, frozenset(revisions(scratch))) is SchemaState.CURRENT
    command.downgrade(config, EXPAND_HEAD)
    assert (revisions(scratch), "users.a" in _columns(scratch)) == ([EXPAND_HEAD], False)
    command.upgrade(config, "heads")
    lines.last = "e2"
    lines.add(ADD.format("c"), DROP.format("c"), revision="e3")
    config.attributes["phase"] = "expand"
    command.upgrade(config, "heads")
    assert "users.c" in _columns(scratch)


def test_schema_state_depends_on_expand_revisions_only(lines: Revisions) -> None:
    scripts = ScriptDirectory.from_config(lines.config())
    assert expand_heads(scripts) == {"e2"}
    for applied, expected in (
        (set(), SchemaState.BEHIND),
        ({EXPAND_HEAD}, SchemaState.BEHIND),
        ({"c1"}, SchemaState.BEHIND),
        ({"e2"}, SchemaState.CURRENT),
        ({"e2", "c1"}, SchemaState.CURRENT),
        ({"c2"}, SchemaState.CURRENT),
        ({"e3", "c1"}, SchemaState.BEHIND),
        ({"e3", "e2"}, SchemaState.AHEAD),
    ):
        assert compare_revisions(scripts, frozenset(applied)) is expected, applied


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("", SchemaState.BEHIND),
        ("e1 e3", SchemaState.BEHIND),
        ("e1 e2 e3", SchemaState.AHEAD),
        ("e1 e2 e3 c1>=0.1.0 c3>=0.1", SchemaState.AHEAD),
        ("e1 e2 e3 c1>=0.1.0 c3>=0.1.1", SchemaState.INCOMPATIBLE),
    ],
)
def test_schema_state_of_unknown_revision_depends_on_record(
    lines: Revisions, record: str, expected: SchemaState
) -> None:
    scripts = ScriptDirectory.from_config(lines.config())
    assert compare_revisions(scripts, frozenset({"e3"}), decode_applied(record)) is expected


def test_migration_updates_the_record(scratch: URL, lines: Revisions) -> None:
    config = lines.config(scratch)
    config.attributes["phase"] = "contract"
    command.upgrade(config, "heads")
    assert {"e1": None, "e2": None, "c1": "0.1.0", EXPAND_HEAD: None}.items() <= _record(scratch).items()
    command.downgrade(config, "c2@-1")
    assert _record(scratch).keys() & {"e1", "e2", "c1", "c2"} == {"e1", "e2", "c1"}
    command.stamp(config, "e2")
    assert _record(scratch).keys() >= {"e1", "e2"}
    command.downgrade(config, "base")
    assert _record(scratch) == {}


def _record(url: URL) -> dict[str, str | None]:
    with connected(url) as connection:
        ((record,),) = connection.execute("SELECT obj_description('alembic_version'::regclass)").fetchall()
    return decode_applied(str(record or ""))


def test_upgrade_rejects_contract_revision_of_later_release(scratch: URL, own: Revisions) -> None:
    own.add(DROP.format("full_name"), more=_contract("99.0.0"), revision="c1")
    config = own.config(scratch)
    config.attributes["phase"] = "contract"
    with pytest.raises(MigrationError, match=r"c1 is safe from release 99\.0\.0; this is 0\.1\.0"):
        command.upgrade(config, "heads")
    assert revisions(scratch) == [EXPAND_HEAD]


@pytest.mark.parametrize(
    ("safe", "release", "compatible"),
    [
        ("0.2", "0.2.0", True),
        ("0.2.0", "0.2", True),
        ("0.2.0", "0.2.0rc1", False),
        ("0.2.0rc1", "0.2.0", True),
        ("0.2.0", "0.10.0", True),
        ("0.2.0", "0.2.1.dev3+g1234", True),
    ],
)
def test_safe_from_is_compared_as_version(own: Revisions, safe: str, release: str, compatible: bool) -> None:
    own.add("pass", more=_contract(safe), revision="c1")
    config = own.config()
    config.output_buffer = io.StringIO()
    config.attributes |= {"phase": "contract", "release": release}
    with nullcontext() if compatible else pytest.raises(MigrationError, match="is safe from release"):
        command.upgrade(config, "heads", sql=True)


def test_upgrade_rejects_expand_revision_after_contract_revision(scratch: URL, own: Revisions) -> None:
    own.add(DROP.format("full_name"), more=_contract("0.1.0"), revision="c1")
    own.add(ADD.format("a"), revision="e1")
    with pytest.raises(MigrationError, match="expand revision e1 follows contract revision c1"):
        command.upgrade(own.config(scratch), "heads")


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
    scripts = ScriptDirectory.from_config(own.config())
    with pytest.raises(MigrationError, match=message):
        phase_of(scripts.get_revision(own.last))


def test_release_revisions_declare_their_phase() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert {phase_of(script) for script in scripts.walk_revisions()} <= set(Phase)


def test_migration_sql_has_contract_revisions_in_contract_phase(lines: Revisions) -> None:
    written = {phase: _sql(lines, phase) for phase in Phase}
    assert "DROP COLUMN" not in written[Phase.EXPAND]
    assert written[Phase.CONTRACT].count("DROP COLUMN") == 2
    assert "SET lock_timeout = 50" in written[Phase.EXPAND]


def _sql(lines: Revisions, phase: Phase) -> str:
    config = lines.config()
    config.output_buffer = io.StringIO()
    config.attributes["phase"] = phase
    command.upgrade(config, "heads", sql=True)
    return config.output_buffer.getvalue()
