"""SQL as text: statements told apart, comments left out, and what is quoted left alone."""

import re
from collections.abc import Iterator

_PIECE = re.compile(
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
_OPENS_OR_CLOSES_COMMENT = re.compile(r"/\*|\*/")
_ROUTINE = re.compile(r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE)\b", re.IGNORECASE)


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements, each without its semicolon and comments, and in a line but for what is quoted."""
    found = ""
    parentheses = blocks = 0
    for kind, piece in [*_pieces(sql), ("other", ";")]:
        if kind == "word" and _ROUTINE.match(found):  # BEGIN ATOMIC … END has semicolons that end nothing
            blocks += _opened(piece.upper(), blocks)
        parentheses += (piece == "(") - (piece == ")")
        if piece != ";" or blocks or parentheses > 0:
            found += piece if found else piece.lstrip()
            continue
        if found.strip():
            yield found.strip()
        found, parentheses, blocks = "", 0, 0
    if found.strip("; "):
        yield found.strip("; ")


def mask_literals(statement: str) -> str:
    """Return the statement with nothing in its strings (names in double quotes are kept)."""
    return "".join("''" if kind == "string" else piece for kind, piece in _pieces(statement))


def mask_parentheses(statement: str) -> str:
    """Return the statement with nothing in its strings and its parentheses."""
    found, depth = "", 0
    for kind, piece in _pieces(statement):
        depth -= piece == ")"
        if depth == 0:
            found += "''" if kind == "string" else piece
        depth += piece == "("
    return found


def alter_table_actions(statement: str) -> list[str]:
    """Return what an ALTER TABLE does to the table, one by one; of another statement, nothing."""
    found = re.match(r'ALTER TABLE (?:IF EXISTS )?(?:ONLY )?[\w."]+(?: \*)? ', statement, re.IGNORECASE)
    if found is None:
        return []
    done, depth = [""], 0
    for _, piece in _pieces(statement[found.end() :]):
        depth += (piece in "([") - (piece in ")]")
        if piece == "," and depth == 0:
            done.append("")
        else:
            done[-1] += piece
    return [action.strip() for action in done]


def _pieces(sql: str) -> Iterator[tuple[str, str]]:
    """Yield kinds and pieces; comments and white space, however much there is, are one space."""
    at, spaced = 0, False
    while (found := _PIECE.match(sql, at)) is not None:
        kind = str(found.lastgroup)
        at = _end_of_comment(sql, found.end()) if kind == "block" else found.end()
        if kind not in {"line", "block", "space"}:
            yield kind, found[0]
            spaced = False
        elif not spaced:
            yield "space", " "
            spaced = True


def _end_of_comment(sql: str, at: int) -> int:
    depth = 1  # they nest
    while depth and (found := _OPENS_OR_CLOSES_COMMENT.search(sql, at)) is not None:
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at if depth == 0 else len(sql)


def _opened(word: str, blocks: int) -> int:
    """Return by how much a word of a routine changes the depth of its blocks, as psql counts them."""
    if word == "BEGIN" or (word == "CASE" and blocks):
        return 1
    return -1 if word == "END" and blocks else 0
