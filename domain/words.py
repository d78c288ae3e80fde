"""Words: what posts are found by.

A word is a run of characters between separators, in lower case. Text is brought into the form NFKC first, so that two
spellings of one character are one; a final sigma counts as any sigma, and `ß` as `ss`. Accents count: `é` is not `e`.
No language is assumed: there are no stems and no stop words, and what is written without spaces is one word.

PostgreSQL has the same rule in its function `words_of`; a test compares the two, character by character.
"""

import re
import unicodedata
from collections.abc import Collection

LONGEST_WORD = 255
"""Code points; nothing is found by a longer one."""

# White space, controls, punctuation and symbols of ASCII and Latin-1, format characters, and the punctuation of other
# scripts: Armenian, Hebrew, Arabic, Devanagari, Thai, Tibetan, Burmese, Ethiopic, Khmer, general, Chinese and Japanese.
SEPARATORS = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u055A-\u055F\u0589\u058A\u05BE\u05C0\u05C3\u05C6"
    r"\u05F3\u05F4\u0609-\u060D\u061B-\u061F\u066A-\u066D\u06D4\u0964\u0965\u0E4F\u0E5A\u0E5B\u0F04-\u0F14\u104A-\u104F"
    r"\u1361-\u1368\u17D4-\u17DA\u2000-\u206F\u3000-\u303F\u30FB\uFE00-\uFE0F\uFEFF"
)
"""The inside of a character class, in the syntax that Python and PostgreSQL share."""

_SEPARATORS = re.compile(f"[{SEPARATORS}]+")
# One code point for each: what `str.lower` does with whole texts depends on neighbours, or makes two of one.
_LOWER = str.maketrans({"\u0130": "i", "\u03a3": "\u03c3", "\u03c2": "\u03c3", "\u00df": "ss", "\u1e9e": "ss"})


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text."""
    folded = unicodedata.normalize("NFKC", text).translate(_LOWER).lower()
    return frozenset(_SEPARATORS.split(folded)) - {""}


def can_find(words: Collection[str]) -> bool:
    """Tell whether there can be a post with all these words: False for no words, and for a word that is too long."""
    return 0 < max(map(len, words), default=0) <= LONGEST_WORD
