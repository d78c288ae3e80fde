"""Rules for text that people write: names, titles, contents.

The rules are regular expressions in the syntax that Python and ECMAScript share, so that an interface can publish them.
Lengths are in Unicode code points.
"""

import re

from domain.errors import InvalidValueError

# White space and invisible characters. They are trimmed, and text of only these characters is blank. Included are
# spaces, joiners, directional marks, soft hyphen, grapheme joiner, Hangul fillers, Khmer inherent vowels, variation
# selectors, invisible operators, deprecated format characters, and the empty Braille pattern.
BLANK = (
    r"\u0020\u00A0\u00AD\u034F\u061C\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F\u205F-\u206F"
    r"\u2800\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0"
)
# Characters that change how a visible neighbor is displayed are not trimmed: selectors and ends of directional runs
# after it, starts of directional runs before it.
_STAYS_AFTER = frozenset("\u180b\u180c\u180d\u180f\u202c\u2069") | frozenset(map(chr, range(0xFE00, 0xFE10)))
_STAYS_BEFORE = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
# C0 and C1 control characters cannot be displayed.
CONTROL = r"\u0000-\u001F\u007F-\u009F"
CONTROL_BUT_LINES = r"\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F"

LINE_PATTERN = rf"^[{BLANK}]*[^{BLANK}{CONTROL}][^{CONTROL}]*$"
"""One line: at least one visible character, no control characters."""

LINES_PATTERN = rf"^[{BLANK}\t\n\r]*[^{BLANK}{CONTROL}][^{CONTROL_BUT_LINES}]*$"
"""Several lines: like one line, but tabs and line breaks are allowed."""

_LINE = re.compile(LINE_PATTERN[:-1] + r"\Z")
_LINES = re.compile(LINES_PATTERN[:-1] + r"\Z")
_LONE_SURROGATE = re.compile(r"[\uD800-\uDFFF]")  # cannot be encoded; ECMAScript patterns cannot express the rule
_ENDS = "".join(filter(re.compile(rf"[{BLANK}\t\n\r]").match, map(chr, range(0x10000))))


def clean_line(text: str, *, field: str, longest: int) -> str:
    """Return one line of trimmed text.

    Raises InvalidValueError if it is blank, longer than `longest` code points, or contains a control character.
    """
    _require(_LINE, text, field, "Must not be blank or contain control characters.")
    return _bounded(_stripped(text), field, longest)


def clean_lines(text: str, *, field: str, longest: int) -> str:
    r"""Return trimmed text of several lines, with `\n` line breaks.

    Raises InvalidValueError if it is blank, longer than `longest` code points, or contains a control character.
    """
    _require(
        _LINES,
        text,
        field,
        "Must not be blank or contain control characters other than tab and line break.",
    )
    cleaned = _stripped(text)
    if "\r" in cleaned:
        cleaned = cleaned.replace("\r\n", "\n").replace("\r", "\n")
    return _bounded(cleaned, field, longest)


def _stripped(text: str) -> str:
    """Return the trimmed text. Precondition: it is not blank."""
    start, end = len(text) - len(text.lstrip(_ENDS)), len(text.rstrip(_ENDS))
    while start > 0 and text[start - 1] in _STAYS_BEFORE:
        start -= 1
    while end < len(text) and text[end] in _STAYS_AFTER:
        end += 1
    return text[start:end]


def _require(rule: re.Pattern[str], text: str, field: str, detail: str) -> None:
    if not rule.match(text) or _LONE_SURROGATE.search(text):
        raise InvalidValueError(field, detail)


def _bounded(text: str, field: str, longest: int) -> str:
    if len(text) > longest:
        raise InvalidValueError(field, f"Must be at most {longest} characters long.")
    return text
