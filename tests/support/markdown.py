"""Tables in Markdown that can be read as text, too."""

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Return the lines of a table; the first row is its head, the first columns are words, the others figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join(_cell(*cell, is_word=at < words) for at, cell in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + ("-" if at < words else ":") for at, width in enumerate(widths)) + "|"
    return [lines[0], rule, *lines[1:]]


def _cell(value: str, width: int, *, is_word: bool) -> str:
    return value.ljust(width) if is_word else value.rjust(width)
