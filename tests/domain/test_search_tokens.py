"""What the words of a text are. The contract suite asks what is found by them."""

import pytest

from domain.words import LONGEST_WORD, can_find, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", set()),
        (" \n\t.,;!?-_/ ", set()),
        ("To be, or not to be", {"to", "be", "or", "not"}),
        ("caf\u00e9 cafe\u0301", {"caf\u00e9"}),
        ("\u00bd \u2075 \u212b", {"1", "2", "5", "\u00e5"}),
        ("soft\u00adhyphen zero\u200bwidth \ufeffmark", {"soft", "hyphen", "zero", "width", "mark"}),
        ("\u6771\u4eac\u3002\u5927\u962a", {"\u6771\u4eac", "\u5927\u962a"}),
    ],
)
def test_words(text: str, words: set[str]) -> None:
    assert words_of(text) == words


def test_the_words_of_words_are_these_words() -> None:
    text = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x20000)]))
    words = words_of(text)
    assert words_of(" ".join(words)) == words


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], False), ([""], False), (["a"], True), (["x" * LONGEST_WORD], True), (["a", "x" * 256], False)],
)
def test_what_can_be_found(words: list[str], expected: bool) -> None:
    assert can_find(words) is expected
