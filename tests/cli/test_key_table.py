"""Tests for the table of `hexapost keys list`."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from adapters.cli.key_table import api_key_table
from domain.api_keys import ApiKey, Scope
from tests.support.factories import make_api_key

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def key() -> ApiKey:
    """A key with the longest fields."""
    key = make_api_key()
    end = replace(key, name="[red]" + "x" * 95, scopes=frozenset(Scope), user_id=key.id)
    return replace(end, created_at=NOW, expires_at=None, last_used_at=NOW, revoked_at=NOW)


def test_key_table_fits_80_columns_on_a_terminal(key: ApiKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    table = api_key_table([key, key], NOW, Console(width=80, force_terminal=True))
    lines = re.sub(r"\x1b\[\d*m", "", table).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if str(key.id) in line] == [str(key.id)] * 4
    assert sum(line.split(" ")[0].count("x") for line in lines) == 2 * 95
    assert {word for line in lines for word in line.split()} >= {*Scope, "revoked", "2030-01-01T00:00:00Z", "-"}


def test_key_table_has_a_line_for_each_key_in_a_pipe(key: ApiKey) -> None:
    lines = api_key_table([key, key], NOW, Console(width=80, force_terminal=False)).splitlines()
    assert len(lines) == 3
    assert re.split(r"  +", lines[1])[:4] == [str(key.id), key.name, ",".join(sorted(Scope)), str(key.user_id)]


@pytest.mark.parametrize(
    ("terminal", "no_color", "colored"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_key_table_has_colors_only_on_a_terminal(
    key: ApiKey, monkeypatch: pytest.MonkeyPatch, terminal: bool, no_color: str, colored: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    table = api_key_table([key], NOW, Console(width=80, force_terminal=terminal))
    assert ("\x1b[31mrevoked" in table) == colored
