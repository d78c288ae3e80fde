"""Splits SQL text into statements and tokens. Removes comments and keeps quoted text."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
      (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$)
    | (?P<word>"(?:[^"]|"")*"|\w[\w$]*)
    | (?P<space>\s+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_DELIMITER = re.compile(r"/\*|\*/")
_ROUTINE = re.compile(r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE)\b", re.IGNORECASE)


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements without semicolons and comments, with white space folded outside quotes."""
    found = ""
    parentheses = blocks = 0
    for kind, part in [*_tokens(sql), ("other", ";")]:
        if kind == "word" and _ROUTINE.match(found):  # skip the semicolons in BEGIN ATOMIC … END
            blocks += _block_change(part.upper(), blocks)
        parentheses += (part == "(") - (part == ")")
        if part != ";" or blocks or parentheses > 0:
            found += part if found else part.lstrip()
            continue
        if found.strip():
            yield found.strip()
        found, parentheses, blocks = "", 0, 0
    if found.strip("; "):
        yield found.strip("; ")


def mask_literals(statement: str) -> str:
    """Return the statement with empty strings; names in double quotes are kept."""
    return "".join("''" if kind == "string" else part for kind, part in _tokens(statement))


def alter_table_actions(statement: str) -> list[str]:
    """Return the actions of an ALTER TABLE, or an empty list for another statement."""
    found = re.match(r'ALTER TABLE (?:IF EXISTS )?(?:ONLY )?[\w."]+(?: \*)? ', statement, re.IGNORECASE)
    if found is None:
        return []
    done, depth = [""], 0
    for _, part in _tokens(statement[found.end() :]):
        depth += (part in "([") - (part in ")]")
        if part == "," and depth == 0:
            done.append("")
        else:
            done[-1] += part
    return [action.strip() for action in done]


def _tokens(sql: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and text of each part. Comments and white space become one space."""
    at, spaced = 0, False
    while (found := _TOKEN.match(sql, at)) is not None:
        kind = str(found.lastgroup)
        at = _end_of_comment(sql, found.end()) if kind == "block" else found.end()
        if kind not in {"line", "block", "space"}:
            yield kind, found[0]
            spaced = False
        elif not spaced:
            yield "space", " "
            spaced = True


def _end_of_comment(sql: str, at: int) -> int:
    depth = 1  # comments nest
    while depth and (found := _COMMENT_DELIMITER.search(sql, at)) is not None:
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at if depth == 0 else len(sql)


def _block_change(word: str, blocks: int) -> int:
    """Return the change of block depth at a word of a routine, as psql counts it."""
    if word == "BEGIN" or (word == "CASE" and blocks):
        return 1
    return -1 if word == "END" and blocks else 0
