"""Rules for text that people write: names, titles, contents.

The rules are regular expressions in the syntax that Python, ECMAScript and Go share, so that an interface can publish
them. Characters above U+00FF are literal, because the three have no common escape for them. Line separators and the
byte order mark are only within ranges: clients contain the patterns, and literals of ECMAScript and Go forbid these.
Lengths are in Unicode code points.
"""

import re

from domain.errors import FieldValidationError

# White space and invisible characters. They are trimmed, and text of only these characters is blank. Included are
# spaces, joiners, directional marks, soft hyphen, hyphenation point, grapheme joiner, Hangul fillers, Khmer inherent
# vowels, variation selectors, invisible operators, deprecated format characters, and the empty Braille pattern.
BLANK_CHARS = (
    "\u0020\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2027-\u202f\u205f-\u206f"
    "\u2800\u3000\u3164\ufe00-\ufe0f\ufefe-\uff00\uffa0"
)
# Characters that change how a visible neighbor is displayed are not trimmed: joiners and directional marks beside it,
# as in Malayalam and Arabic, selectors and ends of directional runs after it, starts of directional runs before it.
_JOINERS_AND_MARKS = frozenset("\u200c\u200d\u200e\u200f\u061c")
_KEEP_AFTER_VISIBLE = _JOINERS_AND_MARKS | frozenset(
    "\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f\u202c\u2069" + "".join(map(chr, range(0xFE00, 0xFE10)))
)
_KEEP_BEFORE_VISIBLE = _JOINERS_AND_MARKS | frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
# C0 and C1 control characters cannot be displayed.
CONTROL_CHARS = r"\x00-\x1F\x7F-\x9F"
CONTROL_CHARS_EXCEPT_NEWLINES = r"\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F"

SINGLE_LINE_PATTERN = rf"^[{BLANK_CHARS}]*[^{BLANK_CHARS}{CONTROL_CHARS}][^{CONTROL_CHARS}]*$"
"""One line: at least one visible character, no control characters."""
SINGLE_LINE_DETAIL = "Must not be blank or contain control characters."

MULTILINE_PATTERN = rf"^[{BLANK_CHARS}\t\n\r]*[^{BLANK_CHARS}{CONTROL_CHARS}][^{CONTROL_CHARS_EXCEPT_NEWLINES}]*$"
"""Several lines: like one line, but tabs and line breaks are allowed."""
MULTILINE_DETAIL = "Must not be blank or contain control characters other than tab and line break."

_SINGLE_LINE = re.compile(SINGLE_LINE_PATTERN)
_MULTILINE = re.compile(MULTILINE_PATTERN)
_LONE_SURROGATE = re.compile(r"[\uD800-\uDFFF]")  # cannot be encoded; ECMAScript patterns cannot express the rule
_TRIM_CHARS = "".join(re.findall(rf"[{BLANK_CHARS}\t\n\r]", "".join(map(chr, range(0x10000)))))


def normalize_text(text: str, *, field: str, max_length: int, multiline: bool = False) -> str:
    r"""Return trimmed text: one line, or several lines with `\n` line breaks.

    Raises FieldValidationError if it is blank, longer than `max_length` code points, or contains a control character.
    """
    if not (_MULTILINE if multiline else _SINGLE_LINE).fullmatch(text) or _LONE_SURROGATE.search(text):
        raise FieldValidationError(field, MULTILINE_DETAIL if multiline else SINGLE_LINE_DETAIL)
    start, end = len(text) - len(text.lstrip(_TRIM_CHARS)), len(text.rstrip(_TRIM_CHARS))
    while start > 0 and text[start - 1] in _KEEP_BEFORE_VISIBLE:
        start -= 1
    while end < len(text) and text[end] in _KEEP_AFTER_VISIBLE:
        end += 1
    normalized = text[start:end].replace("\r\n", "\n").replace("\r", "\n")
    if len(normalized) > max_length:
        raise FieldValidationError(field, f"Must be at most {max_length} characters long.")
    return normalized
