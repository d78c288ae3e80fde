"""Tests for the validation and normalization of text fields."""

import re
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.api_keys import normalize_api_key_name
from domain.errors import FieldValidationError
from domain.posts import normalize_content, normalize_query, normalize_title
from domain.text_rules import MULTILINE_PATTERN, SINGLE_LINE_PATTERN, normalize_text
from domain.users import normalize_full_name

BLANKS = (
    " \u00a0\u00ad\u115f\u1160\u1680\u180e\u2000\u200a\u200b"
    "\u2027\u2028\u2029\u202f\u205f\u2060\u2061\u2062\u2063\u2064\u206a\u206f\u2800\u3000\u3164\ufefe\ufeff\uff00\uffa0"
)
JOINERS = "\u200c\u200d\u200e\u200f\u061c"
SELECTORS = "\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f" + "".join(map(chr, range(0xFE00, 0xFE10)))
OPENING, CLOSING = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068", "\u202c\u2069"
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
LONE_SURROGATES = ["\ud800", "\udfff"]
Clean = Callable[[str], str]
_line = partial(normalize_text, field="x", max_length=20)
_lines = partial(_line, multiline=True)
both = pytest.mark.parametrize("clean", [_line, _lines])
texts = st.text(
    st.one_of(
        st.sampled_from(BLANKS + JOINERS + SELECTORS + OPENING + CLOSING + "\t\n\r\0\x7f\x85ab\ud800🦉é"),
        st.characters(),
    ),
    max_size=24,
)


def _is_rejected(clean: Clean, text: str) -> bool:
    try:
        clean(text)
    except FieldValidationError:
        return True
    return False


@both
@pytest.mark.parametrize("blank", BLANKS)
def test_normalize_trims_blank_ends(clean: Clean, blank: str) -> None:
    assert clean(f"{blank}{blank}a{blank}b{blank}") == f"a{blank}b"


@both
@pytest.mark.parametrize(
    "text",
    ["", *BLANKS, *JOINERS, *SELECTORS, *OPENING, *CLOSING, BLANKS, " \ufe0f ", "\u2067 \u2069", "\u200d\ufe0f\u200d"],
)
def test_normalize_raises_for_blank_text(clean: Clean, text: str) -> None:
    with pytest.raises(FieldValidationError) as raised:
        clean(text)
    assert raised.value.field == "x"


@both
@pytest.mark.parametrize(
    "text",
    [
        *["a", "a b", "Zoë", "🦉", "a\u00a0b", "x" * 20, "🦉" * 20, "\u0308a", "مرحبا", "<b>'\"&"],
        *["❤\ufe0f", "👩\u200d👩\u200d👧", "1\ufe0f\u20e3", "🏳\ufe0f\u200d🌈", "a\u2067b\u2069", "\u2067a\u2069"],
        *["രാജന്\u200d", "\u200dع", "می\u200c", "C++\u200e", "\u200f(a)\u200f", "a\u061c"],
    ],
)
def test_normalize_keeps_visible_text_and_trims_around_it(clean: Clean, text: str) -> None:
    assert clean(text) == text
    assert clean(f" \u200b\ufe0f\u2069{text} \ufe0f\u2067") == text


@both
@pytest.mark.parametrize("selector", SELECTORS)
def test_normalize_keeps_selectors_after_visible_characters(clean: Clean, selector: str) -> None:
    assert clean(f"{selector}a{selector}b{selector}") == f"a{selector}b{selector}"
    assert clean(f"a {selector}") == "a"


@both
@pytest.mark.parametrize("control", CONTROLS + LONE_SURROGATES)
def test_normalize_raises_for_controls_and_lone_surrogates(clean: Clean, control: str) -> None:
    is_allowed = clean is _lines and control in "\t\n\r"
    for text in (f"a{control}b", f"a{control}", f"{control}a"):
        assert _is_rejected(clean, text) == (not is_allowed)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\nb", "a\nb"),
        ("a\r\nb\rc\n\r\nd", "a\nb\nc\n\nd"),
        ("\r\n \ta\t\n b \r\n", "a\t\n b"),
    ],
)
def test_normalize_multiline_converts_line_breaks(text: str, cleaned: str) -> None:
    assert _lines(text) == cleaned


@both
def test_normalize_limits_the_length_after_trimming(clean: Clean) -> None:
    assert clean("  " + "x" * 20 + "  ") == "x" * 20
    with pytest.raises(FieldValidationError, match="at most 20 characters"):
        clean("x" * 21)


def test_normalize_multiline_counts_crlf_as_a_single_char() -> None:
    assert len(_lines("\r\n".join("x" * 10) + "x")) == 20


@pytest.mark.parametrize(
    ("clean", "field", "longest"),
    [
        (normalize_full_name, "full_name", 200),
        (normalize_title, "title", 200),
        (normalize_content, "content", 2000),
        (normalize_query, "q", 200),
        (normalize_api_key_name, "name", 100),
    ],
)
def test_text_field_has_its_name_and_limits(clean: Clean, field: str, longest: int) -> None:
    assert clean("🦉" * longest) == "🦉" * longest
    for wrong in ("", "🦉" * (longest + 1)):
        with pytest.raises(FieldValidationError) as raised:
            clean(wrong)
        assert raised.value.field == field
    assert _is_rejected(clean, "a\nb") == (field != "content")


@both
@given(texts)
@example("\r \r")
@example("a\r")
def test_normalize_is_idempotent(clean: Clean, text: str) -> None:
    if not _is_rejected(clean, text):
        once = clean(text)
        assert clean(once) == once
        assert 1 <= len(once) <= 20
        assert once[0] not in BLANKS
        assert once[-1] not in BLANKS


@given(texts)
def test_published_patterns_accept_the_valid_texts(text: str) -> None:
    is_encodable = not re.search("[\ud800-\udfff]", text)
    for pattern, clean in ((SINGLE_LINE_PATTERN, normalize_title), (MULTILINE_PATTERN, normalize_content)):
        is_match = re.fullmatch(pattern, text) is not None
        assert _is_rejected(clean, text) == (not is_match or not is_encodable)
