"""Tests for the tokens of a text."""

import pytest

from domain.search_tokens import MAX_TOKEN_LENGTH, is_searchable, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
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
def test_tokenize_returns_normalized_tokens(text: str, tokens: set[str]) -> None:
    assert tokenize(text) == tokens


def test_tokenize_is_idempotent() -> None:
    text = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x20000)]))
    tokens = tokenize(text)
    assert tokenize(" ".join(tokens)) == tokens


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [([], False), ([""], False), (["a"], True), (["x" * MAX_TOKEN_LENGTH], True), (["a", "x" * 256], False)],
)
def test_is_searchable_requires_tokens_of_valid_length(tokens: list[str], expected: bool) -> None:
    assert is_searchable(tokens) is expected
