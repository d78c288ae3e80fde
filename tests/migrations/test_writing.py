"""`make migration` asks for the phase, and puts the revision after the last one of it."""

from typing import cast

import pytest
from alembic import command
from alembic.script import Script
from sqlalchemy import URL

from migrations.patience import MigrationError
from migrations.phases import Phase
from tests.migrations.revisions import EXPAND_HEAD, Revisions
from tests.support.databases import connected, with_driver


def _written(own: Revisions, url: URL, phase: Phase) -> Script:
    """Apply what there is, then write a revision of the phase."""
    config = own.config(with_driver(url, "psycopg"))
    config.attributes["phase"] = Phase.CONTRACT
    command.upgrade(config, "heads")
    config.attributes["phase"] = phase
    return cast("Script", command.revision(config, "more", autogenerate=True, version_path=str(own.directory)))


def test_a_revision_follows_the_last_one_of_its_phase(scratch: URL, own: Revisions) -> None:
    first = _written(own, scratch, Phase.EXPAND)
    contract = _written(own, scratch, Phase.CONTRACT)
    second = _written(own, scratch, Phase.EXPAND)
    more = _written(own, scratch, Phase.CONTRACT)
    assert [script.down_revision for script in (first, contract, second, more)] == [
        EXPAND_HEAD,
        first.revision,
        first.revision,
        contract.revision,
    ]
    assert (more.dependencies, second.dependencies) == (second.revision, None)
    assert [script.module.phase for script in (first, contract)] == ["expand", "contract"]
    assert (contract.module.safe_from, hasattr(first.module, "safe_from")) == ("0.1.0", False)


def test_two_lines_of_a_phase_are_not_gone_on_with(scratch: URL, own: Revisions) -> None:
    for name in ("one", "two"):
        own.last = EXPAND_HEAD
        own.add("pass", revision=name)
    with pytest.raises(MigrationError, match="more than one line of revisions: "):
        _written(own, scratch, Phase.EXPAND)


def test_what_autogenerate_finds_is_written(scratch: URL, own: Revisions) -> None:
    with connected(scratch) as connection:
        connection.execute("ALTER TABLE users DROP COLUMN full_name")
    script = _written(own, scratch, Phase.EXPAND)
    written = (own.directory / script.path).read_text()
    assert 'op.add_column("users", sa.Column("full_name"' in written.replace("'", '"')
    assert "from migrations.operations import op" in written
