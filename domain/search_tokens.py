"""Search tokens of posts, and the terms of search queries.

White space, punctuation and symbols separate words. Each character folds to NFKC, without case and accents. Words of
scripts without spaces become pairs of characters, so that a query finds a part of a word. The rules are the same for
all languages: no stemming, no stop words. A text has at most as many tokens as characters in NFKD.

The tokens of a post are stored. A change of these rules needs a revision that computes them again.
"""

import re
import unicodedata
from collections.abc import Collection
from operator import add

MAX_TOKEN_LENGTH = 255
"""Code points. The rest of a longer word is ignored."""
_MAX_CACHED_CHARACTERS = 20_000

# Thai, Lao, Burmese, Khmer, Tai Le, New Tai Lue, Hangul, kana, Bopomofo and Han. Korean has spaces, but it appends
# particles to nouns.
_UNSPACED = (
    r"\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u1950-\u19FF\u1100-\u11FF\uA960-\uA97F\uAC00-\uD7FF\u3005-\u3007"
    r"\u3041-\u312F\u31A0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U0001AFF0-\U0001B16F\U00020000-\U0003FFFF"
)
_WORD = re.compile(rf"[{_UNSPACED}]+|[^ *{_UNSPACED}]+\*?")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
# Combining diacritical marks, points and vowel signs of Hebrew and Arabic, variation selectors, and fillers. Marks of
# other scripts are parts of letters: vowels in Devanagari, the voiced sound mark in kana. The iota subscript folds to a
# letter.
_IGNORED = re.compile(
    r"[\u0300-\u0344\u0346-\u036F\u0591-\u05C7\u0640\u064B-\u065F\u0670\u06D6-\u06ED\u115F\u1160\u17B4\u17B5"
    r"\u180B-\u180F\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20FF\uFE00-\uFE0F\uFE20-\uFE2F\U000E0100-\U000E01EF]"
)
# Unicode does not decompose these letters. The last six are Malayalam: a consonant, a virama and an ignored joiner.
_BASE_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "\u0131": "i", "æ": "ae", "œ": "oe"}
    | {"ൺ": "ണ്", "ൻ": "ന്", "ർ": "ര്", "ൽ": "ല്", "ൾ": "ള്", "ൿ": "ക്"}
)
_ASCII_SEPARATORS = {code: " " for code in range(128) if not chr(code).isalnum() and chr(code) != "*"}
_ZERO_WIDTH_SPACE = "\u200b"
_APOSTROPHE_LETTERS = "\u02bb\u02bc\u02bd\u02be\u02bf"
"""Letters in Ukrainian, Uzbek, Hawaiian and transliterated Arabic words, which keyboards write as apostrophes."""


def tokenize(text: str) -> frozenset[str]:
    """Return the search tokens of a text: its words. A character of an unspaced script is paired with the next one."""
    folded = _fold(text).replace("*", " ")
    words = set(folded.split())
    if folded.isascii() or not _UNSPACED_CHARACTER.search(folded):
        return frozenset(word[:MAX_TOKEN_LENGTH] for word in words)
    tokens: set[str] = set()
    for word in _WORD.findall(" ".join(words)):
        if _UNSPACED_CHARACTER.match(word):
            tokens.update(map(add, word, word[1:]))
            tokens.add(word[-1])
        else:
            tokens.add(word[:MAX_TOKEN_LENGTH])
    return frozenset(tokens)


def parse_query(query: str) -> frozenset[str]:
    """Return the search terms of a query. A term is a token, or the start of a token and `*`."""
    terms: set[str] = set()
    for word in _WORD.findall(_fold(query)):
        if not _UNSPACED_CHARACTER.match(word):
            token = word.removesuffix("*")
            terms.add(token[:MAX_TOKEN_LENGTH] + word[len(token) :])
        elif len(word) == 1:
            terms.add(f"{word}*")
        else:
            terms.update(map(add, word, word[1:]))
    return frozenset(terms)


def contains_all(tokens: Collection[str], terms: Collection[str]) -> bool:
    """Return True if each search term is one of the tokens, or the start of one."""
    return all(
        any(token.startswith(term[:-1]) for token in tokens) if term.endswith("*") else term in tokens for term in terms
    )


def _fold(text: str) -> str:
    """Return the words of a text in their common form, separated by spaces. An asterisk is kept."""
    if text.isascii():
        return text.lower().translate(_ASCII_SEPARATORS)
    return unicodedata.normalize("NFC", text.translate(_FOLDED))


class _FoldedCharacters(dict[int, str]):
    """The common form of each character, computed at its first use."""

    def __missing__(self, code: int) -> str:
        folded = _fold_character(chr(code))
        if len(self) < _MAX_CACHED_CHARACTERS:
            self[code] = folded
        return folded


_FOLDED = _FoldedCharacters()


def _fold_character(character: str) -> str:
    letters = "".join(map(_keep_letter, _IGNORED.sub("", unicodedata.normalize("NFKD", character))))
    folded = unicodedata.normalize("NFC", letters.casefold().translate(_BASE_LETTERS))
    # A symbol that decomposes to letters is a separate word: Launch™ is found by `launch`.
    return f" {folded} " if unicodedata.category(character)[0] == "S" else folded


def _keep_letter(character: str) -> str:
    """Return a letter, digit, mark or unknown character, no character for a format character, else a space."""
    if character in _APOSTROPHE_LETTERS:
        return " "
    category = unicodedata.category(character)
    if category[0] in "LMN" or category in {"Cn", "Co"} or character == "*":
        return character
    return "" if category == "Cf" and character != _ZERO_WIDTH_SPACE else " "
