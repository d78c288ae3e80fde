"""Expand revisions go before a release, contract revisions when they are asked for."""

import io
from contextlib import nullcontext

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.postgres.migrations import SchemaState, state_of
from migrations.configuration import configuration
from migrations.patience import MigrationError
from migrations.phases import Phase, expand_heads, phase_of, recorded
from tests.migrations.revisions import EXPAND_HEAD, Revisions
from tests.support.databases import connected, with_driver
from tests.support.schemas import revisions, schema

ADD = 'op.add_column("users", sa.Column("{0}", sa.Text()))'
DROP = 'op.drop_column("users", "{0}")'


def _contract(release: str, *, after: str | None = None) -> str:
    return f'phase = "contract"\nsafe_from = "{release}"\ndepends_on = {after!r}'


@pytest.fixture
def lines(own: Revisions) -> Revisions:
    """Two expand revisions; a contract revision after each, in a line of their own."""
    own.add(ADD.format("a"), DROP.format("a"), revision="e1")
    own.add(DROP.format("full_name"), ADD.format("full_name"), revision="c1", more=_contract("0.1.0"))
    own.last = "e1"
    own.add(ADD.format("b"), DROP.format("b"), revision="e2")
    own.last = "c1"
    own.add(DROP.format("b"), ADD.format("b"), revision="c2", more=_contract("0.1.0", after="e2"))
    return own


def _columns(url: URL) -> set[str]:
    return {line.split()[1] for line in schema(url) if line.startswith("column users.")}


def test_contract_revisions_wait_until_they_are_asked_for(scratch: URL, driver: str, lines: Revisions) -> None:
    config = lines.config(with_driver(scratch, driver))
    command.upgrade(config, "heads")
    assert revisions(scratch) == ["e2"]
    assert {"users.a", "users.b", "users.full_name"} <= _columns(scratch)
    config.attributes["phase"] = "contract"
    command.upgrade(config, "heads")
    assert not {"users.b", "users.full_name"} & _columns(scratch)
    scripts = ScriptDirectory.from_config(config)
    assert state_of(scripts, frozenset(revisions(scratch))) is SchemaState.CURRENT
    command.downgrade(config, EXPAND_HEAD)
    assert (revisions(scratch), "users.a" in _columns(scratch)) == ([EXPAND_HEAD], False)
    command.upgrade(config, "heads")
    lines.last = "e2"
    lines.add(ADD.format("c"), DROP.format("c"), revision="e3")
    config.attributes["phase"] = "expand"
    command.upgrade(config, "heads")
    assert "users.c" in _columns(scratch)


def test_the_schema_that_a_release_needs_is_that_of_its_expand_revisions(lines: Revisions) -> None:
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
        assert state_of(scripts, frozenset(applied)) is expected, applied


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("", SchemaState.BEHIND),
        ("e1 e3", SchemaState.BEHIND),
        ("e1 e2 e3", SchemaState.AHEAD),
        ("e1 e2 e3 c1>=0.1.0 c3>=0.1", SchemaState.AHEAD),
        ("e1 e2 e3 c1>=0.1.0 c3>=0.1.1", SchemaState.TOO_NEW),
    ],
)
def test_what_an_unknown_revision_follows_is_in_the_record(
    lines: Revisions, record: str, expected: SchemaState
) -> None:
    scripts = ScriptDirectory.from_config(lines.config())
    assert state_of(scripts, frozenset({"e3"}), recorded(record)) is expected


def test_the_record_is_that_of_the_last_migration(scratch: URL, driver: str, lines: Revisions) -> None:
    config = lines.config(with_driver(scratch, driver))
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
        ((words,),) = connection.execute("SELECT obj_description('alembic_version'::regclass)").fetchall()
    return recorded(str(words or ""))


def test_a_contract_revision_of_a_later_release_is_refused(scratch: URL, own: Revisions) -> None:
    own.add(DROP.format("full_name"), more=_contract("99.0.0"), revision="c1")
    config = own.config(scratch)
    config.attributes["phase"] = "contract"
    with pytest.raises(
        MigrationError, match=r"contract revision c1 is safe from release 99\.0\.0, and this is 0\.1\.0"
    ):
        command.upgrade(config, "heads")
    assert revisions(scratch) == [EXPAND_HEAD]


@pytest.mark.parametrize(
    ("safe", "release", "borne"),
    [
        ("0.2", "0.2.0", True),
        ("0.2.0", "0.2", True),
        ("0.2.0", "0.2.0rc1", False),
        ("0.2.0rc1", "0.2.0", True),
        ("0.2.0", "0.10.0", True),
        ("0.2.0", "0.2.1.dev3+g1234", True),
    ],
)
def test_releases_are_compared_as_versions(own: Revisions, safe: str, release: str, borne: bool) -> None:
    own.add("pass", more=_contract(safe), revision="c1")
    config = own.config()
    config.output_buffer = io.StringIO()
    config.attributes |= {"phase": "contract", "release": release}
    with nullcontext() if borne else pytest.raises(MigrationError, match="is safe from release"):
        command.upgrade(config, "heads", sql=True)


def test_an_expand_revision_does_not_follow_a_contract_revision(scratch: URL, own: Revisions) -> None:
    own.add(DROP.format("full_name"), more=_contract("0.1.0"), revision="c1")
    own.add(ADD.format("a"), revision="e1")
    with pytest.raises(MigrationError, match="expand revision e1 follows contract revision c1"):
        command.upgrade(own.config(scratch), "heads")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("phase = None", "declares no phase"),
        ("phase = 'soon'", "declares no phase"),
        ("phase = 'contract'", "does not name the release"),
        ("phase = 'contract'; safe_from = 'next'", "does not name the release"),
    ],
)
def test_a_revision_declares_its_phase(own: Revisions, more: str, message: str) -> None:
    own.add("pass", more=more)
    scripts = ScriptDirectory.from_config(own.config())
    with pytest.raises(MigrationError, match=message):
        phase_of(scripts.get_revision(own.last))


def test_every_revision_of_the_release_declares_its_phase() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert {phase_of(script) for script in scripts.walk_revisions()} <= set(Phase)


def test_the_sql_leaves_contract_revisions_out_unless_they_are_asked_for(lines: Revisions) -> None:
    written = {phase: _sql(lines, phase) for phase in Phase}
    assert "DROP COLUMN" not in written[Phase.EXPAND]
    assert written[Phase.CONTRACT].count("DROP COLUMN") == 2
    assert "SET lock_timeout = 100" in written[Phase.EXPAND]


def _sql(lines: Revisions, phase: Phase) -> str:
    config = lines.config()
    config.output_buffer = io.StringIO()
    config.attributes["phase"] = phase
    command.upgrade(config, "heads", sql=True)
    return config.output_buffer.getvalue()
