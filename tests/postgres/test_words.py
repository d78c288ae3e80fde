"""`words_of` in the database and in the domain: one rule, and one set of characters."""

import unicodedata

from domain.words import words_of
from tests.support.stores import Store

IN_DATABASE = "SELECT tsvector_to_array(words_of(t)) FROM unnest(%s::text[]) WITH ORDINALITY AS x(t, n) ORDER BY n"


def test_every_character_counts_alike(store: Store) -> None:
    known = [chr(n) for n in range(1, 0x110000) if unicodedata.category(chr(n)) not in {"Cn", "Cs", "Co"}]
    assert len(known) > 140_000
    texts = [f"a{character}B {character} {character}{character}" for character in known]
    rows = store.admin.execute(IN_DATABASE, [texts]).fetchall()
    differing = [text for text, (words,) in zip(texts, rows, strict=True) if set(words) != words_of(text)]  # type: ignore[call-overload]
    assert differing == []
