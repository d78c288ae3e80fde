"""Tests for the search tokens of the database: they equal those of the domain."""

import unicodedata

import pytest

from domain.search_tokens import tokenize
from tests.support.database_fixture import DatabaseFixture

IN_DATABASE = "SELECT tsvector_to_array(search_tokens(t)) FROM unnest(%s::text[]) WITH ORDINALITY AS x(t, n) ORDER BY n"


@pytest.mark.parametrize("driver", ["psycopg"])
def test_search_tokens_of_every_character_match_the_domain(store: DatabaseFixture) -> None:
    known = [chr(n) for n in range(1, 0x110000) if unicodedata.category(chr(n)) not in {"Cn", "Cs", "Co"}]
    assert len(known) > 140_000
    samples = [f"a{character}B {character} {character}{character}" for character in known]
    texts = [" ".join(samples[start : start + 50]) for start in range(0, len(samples), 50)]
    rows = store.admin.execute(IN_DATABASE, [texts]).fetchall()
    differing = [text for text, (tokens,) in zip(texts, rows, strict=True) if set(tokens) != tokenize(text)]  # type: ignore[call-overload]
    assert differing == []
