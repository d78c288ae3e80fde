"""Tests for the parsing of SQL text."""

import pytest

from migrations.sql.parser import alter_table_actions, mask_literals, split_statements

ATOMIC = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"

RULE = "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ; ;", []),
        ("SELECT 1;SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 'a;b', 'it''s; so'; SELECT 2", ["SELECT 'a;b', 'it''s; so'", "SELECT 2"]),
        (r"SELECT E'\';'; SELECT '\'; SELECT 3", [r"SELECT E'\';'", r"SELECT '\'", "SELECT 3"]),
        ('SELECT "a;b"; SELECT 2', ['SELECT "a;b"', "SELECT 2"]),
        ("DO $$ a;\n\nb $$; SELECT $x$ $$;$y$ $x$", ["DO $$ a;\n\nb $$", "SELECT $x$ $$;$y$ $x$"]),
        ("SELECT a$b$c; SELECT $1; SELECT d$b$e", ["SELECT a$b$c", "SELECT $1", "SELECT d$b$e"]),
        ("/* a; /* b; */ c; */ SELECT -- d;\n 1", ["SELECT 1"]),
        ("SELECT '/*'; SELECT '*/ --'", ["SELECT '/*'", "SELECT '*/ --'"]),
        ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", [RULE, "SELECT 3"]),
        (f"{ATOMIC}; SELECT 3", [ATOMIC, "SELECT 3"]),
        ("BEGIN; SELECT 1; END", ["BEGIN", "SELECT 1", "END"]),
    ],
)
def test_split_statements_handles_quotes_and_comments(sql: str, expected: list[str]) -> None:
    assert list(split_statements(sql)) == expected


def test_mask_literals_keeps_quoted_names() -> None:
    assert mask_literals("SELECT 'UPDATE', $$ DELETE $$, \"a b\"") == "SELECT '', '', \"a b\""


def test_alter_table_actions_splits_at_top_level_commas() -> None:
    statement = "ALTER TABLE IF EXISTS ONLY a.t ADD COLUMN b numeric(1, 2) DEFAULT ',', ADD CHECK (b IN (1, 2))"
    assert alter_table_actions(statement) == ["ADD COLUMN b numeric(1, 2) DEFAULT ','", "ADD CHECK (b IN (1, 2))"]
    assert alter_table_actions("DROP TABLE a, b") == []
