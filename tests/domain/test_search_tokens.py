"""Tests for the tokens of a text and the terms of a query."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.search_tokens import MAX_TOKEN_LENGTH, contains_all, parse_query, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", set()),
        (" \n\t.,;!?-_/*\uff0a ", set()),
        ("To be, or not to be", {"to", "be", "or", "not"}),
        ("snake_case a*b", {"snake", "case", "a", "b"}),
        ("caf\u00e9 a\uff0ab", {"cafe", "a", "b"}),
        ("x" * 300, {"x" * MAX_TOKEN_LENGTH}),
        ("½ x² Å ﬁne", {"1", "2", "x2", "a", "fine"}),
        ("१२ हिन्दी", {"१२", "हिन्दी"}),
        ("東京タワー", {"東京", "京タ", "タワ", "ワー", "ー"}),
        ("東京。大阪", {"東京", "京", "大阪", "阪"}),
        ("iPhone東京15", {"iphone", "東京", "京", "15"}),
        ("서울에서", {"서울", "울에", "에서", "서"}),
        ("ไทย", {"ไท", "ทย", "ย"}),
    ],
)
def test_tokenize_returns_words_and_pairs(text: str, tokens: set[str]) -> None:
    assert tokenize(text) == tokens


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("", set()),
        ("!!! * 🚀 **", set()),
        ("Web* site", {"web*", "site"}),
        ("web*site **x", {"web*", "site", "x"}),
        ("\uff57\uff45\uff42\uff0a", {"web*"}),
        ("x" * 300 + "*", {"x" * MAX_TOKEN_LENGTH + "*"}),
        ("東京タ", {"東京", "京タ"}),
        ("京", {"京*"}),
        ("東京* 京*", {"東京", "京*"}),
        ("iphone東*", {"iphone", "東*"}),
    ],
)
def test_parse_query_returns_tokens_and_prefixes(query: str, terms: set[str]) -> None:
    assert parse_query(query) == terms


@pytest.mark.parametrize(
    ("text", "query"),
    [
        *[("Café", "cafe"), ("cafe", "CAFE\u0301"), ("Straße", "STRASSE"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("Ёлка", "елка")],
        *[("İstanbul", "istanbul"), ("istanbul", "İSTANBUL"), ("Ølstykke", "olstykke"), ("Łódź", "lodz")],
        *[("Launch🚀", "launch"), ("100€", "100"), ("Launch™", "launch"), ("5㎏", "kg"), ("№7", "7"), ("1\ufe0f⃣", "1")],
        *[
            ("soft\u00adhyphen", "softhyphen"),
            ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u062e"),
            ("രാജന\u0d4d\u200d", "രാജന\u0d4d"),
            ("п\u02bcять", "п'ять"),
            ("o'zbek", "o\u02bbzbek"),
            ("o\u2018zbek", "o\u02bbzbek"),
            ("രാജൻ", "രാജന\u0d4d\u200d"),
            ("അവർ", "അവര\u0d4d\u200d"),
        ],
        *[("zero\u200bwidth", "width"), ("\ufeffmark", "mark"), ("a\u2060b", "ab"), ("محـــمد", "محمد")],
        *[("שָׁלוֹם", "שלום"), ("مُحَمَّد", "محمد"), ("葛\U000e0100城", "葛城"), ("ﾀﾜｰ", "タワー"), ("ｶﾞ", "カ\u3099")],
        *[("東京タワー", "東京"), ("東京タワー", "京"), ("東京タワー", "ー"), ("한국대학교", "대학"), ("भाषा", "भाषा")],
        *[("\u1112\u1161\u11ab", "한"), ("Ა", "ა"), ("website", "web*"), ("web", "web*"), ("Łódź", "lod*")],
    ],
)
def test_query_finds_equivalent_text(text: str, query: str) -> None:
    terms = parse_query(query)
    assert terms
    assert contains_all(tokenize(text), terms)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        *[("web", "website*"), ("engine", "eng"), ("engine", "engines"), ("a b", "ab"), ("がく", "かく"), ("ไม่", "ไม้")],
        *[("हिन्दी", "हिन्दु"), ("京都", "東京"), ("東", "東京"), ("a", "a b*"), ("कि", "की")],
    ],
)
def test_query_does_not_find_different_text(text: str, query: str) -> None:
    assert not contains_all(tokenize(text), parse_query(query))


def test_every_known_letter_is_found_in_each_of_its_forms() -> None:
    letters = [chr(n) for n in range(0x110000) if unicodedata.category(chr(n))[0] in "LN" and tokenize(chr(n))]
    assert len(letters) > 130_000
    for letter in letters:
        tokens = tokenize(letter)
        forms = (letter, letter.lower(), letter.upper(), letter.casefold(), unicodedata.normalize("NFD", letter))
        assert all(contains_all(tokens, parse_query(form)) for form in forms), hex(ord(letter))


@given(st.text(), st.text())
def test_tokens_do_not_depend_on_the_normalization_of_the_text(text: str, more: str) -> None:
    tokens = tokenize(text)
    assert all(tokenize(unicodedata.normalize(form, text)) == tokens for form in ("NFC", "NFD"))
    assert all(1 <= len(token) <= MAX_TOKEN_LENGTH for token in tokens)
    assert len(tokens) <= len(unicodedata.normalize("NFKD", text))
    assert contains_all(tokens, parse_query(text.replace("*", " ")))
    assert tokenize(f"{text} {more}") == tokens | tokenize(more)


@given(st.text(st.characters(codec="ascii")))
def test_tokens_of_ascii_do_not_depend_on_other_text(text: str) -> None:
    assert tokenize(f"{text} \u00e9") == tokenize(text) | {"e"}
    assert parse_query(f"{text} \u00e9") == parse_query(text) | {"e"}
