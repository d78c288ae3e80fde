"""Search tokens of posts.

A token is a run of characters between separators, in lower case. Text is normalized to NFKC first, so that all
spellings of a character are equal. A final sigma equals any other sigma, and `ß` equals `ss`. Accents are significant:
`é` differs from `e`. The rules are the same for all languages: no stemming, no stop words. Text without spaces is one
token.

The PostgreSQL function `search_tokens` has the same rules. A test compares both, character by character.
"""

import re
import unicodedata
from collections.abc import Collection

MAX_TOKEN_LENGTH = 255
"""Code points. No post is found by a longer token."""

# White space, controls, punctuation and symbols of ASCII and Latin-1, format characters, and punctuation of the scripts
# Armenian, Hebrew, Arabic, Devanagari, Thai, Tibetan, Burmese, Ethiopic, Khmer, general, Chinese and Japanese.
SEPARATORS = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u055A-\u055F\u0589\u058A\u05BE\u05C0\u05C3\u05C6"
    r"\u05F3\u05F4\u0609-\u060D\u061B-\u061F\u066A-\u066D\u06D4\u0964\u0965\u0E4F\u0E5A\u0E5B\u0F04-\u0F14\u104A-\u104F"
    r"\u1361-\u1368\u17D4-\u17DA\u2000-\u206F\u3000-\u303F\u30FB\uFE00-\uFE0F\uFEFF"
)
"""The content of a character class, in the syntax that Python and PostgreSQL share."""

_SEPARATORS = re.compile(f"[{SEPARATORS}]+")
# `str.lower` maps these by context or to two code points. PostgreSQL maps each code point by itself.
_LOWER = str.maketrans({"\u0130": "i", "\u03a3": "\u03c3", "\u03c2": "\u03c3", "\u00df": "ss", "\u1e9e": "ss"})


def tokenize(text: str) -> frozenset[str]:
    """Return the search tokens of a text."""
    folded = unicodedata.normalize("NFKC", text).translate(_LOWER).lower()
    return frozenset(_SEPARATORS.split(folded)) - {""}


def is_searchable(tokens: Collection[str]) -> bool:
    """Return True if a post can contain all these tokens: False for an empty set and for a token that is too long."""
    return 0 < max(map(len, tokens), default=0) <= MAX_TOKEN_LENGTH
