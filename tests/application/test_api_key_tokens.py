"""Tests for the format and the hash of API keys."""

import math
import re
import string
from collections import Counter
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application import api_key_tokens
from application.api_key_tokens import (
    API_KEY_LENGTH,
    API_KEY_PATTERN,
    SECRET_LENGTH,
    PepperSet,
    format_api_key,
    generate_secret,
    parse_api_key_id,
)
from domain.api_keys import ApiKeyFamily, ApiKeyHash
from tests.support.factories import make_api_key

ID = UUID("0193e0b8-7f6a-7c3d-9b1e-2f4a6c8d0e1f")
DIGITS = string.digits + string.ascii_letters
TEXT = format_api_key(ID, "0123456789abcdefghijABCDEFGHIJ01")
OLD, NEW = b"old pepper of these tests, 32 bytes", b"new pepper of these tests, 32 bytes"


def test_format_api_key_matches_the_published_pattern() -> None:
    assert TEXT.startswith("hexa_0193e0b87f6a7c3d9b1e2f4a6c8d0e1f_0123456789abcdefghijABCDEFGHIJ01")
    assert len(TEXT) == API_KEY_LENGTH
    assert api_key_tokens._API_KEY_REGEX.fullmatch(TEXT)
    assert re.fullmatch(API_KEY_PATTERN, TEXT)
    assert API_KEY_PATTERN[1:-1] == re.sub("[()]", "", api_key_tokens._API_KEY_REGEX.pattern)


def test_format_api_key_appends_crc_32_in_base_62() -> None:
    assert format_api_key(UUID(int=0), "0" * 32) == f"hexa_{'0' * 32}_{'0' * 32}4Td7DV"


@given(st.uuids(), st.text(DIGITS, min_size=SECRET_LENGTH, max_size=SECRET_LENGTH))
def test_parse_api_key_id_returns_the_formatted_id(key_id: UUID, secret: str) -> None:
    assert parse_api_key_id(format_api_key(key_id, secret)) == key_id


def test_parse_api_key_id_rejects_every_changed_character() -> None:
    for place, right in enumerate(TEXT):
        for wrong in set(string.printable) - {right}:
            assert parse_api_key_id(TEXT[:place] + wrong + TEXT[place + 1 :]) is None, (place, wrong)


def test_parse_api_key_id_rejects_every_swap_of_neighbors() -> None:
    for place in range(len(TEXT) - 1):
        swapped = TEXT[:place] + TEXT[place + 1] + TEXT[place] + TEXT[place + 2 :]
        assert swapped == TEXT or parse_api_key_id(swapped) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hexa_",
        TEXT[:-1],
        TEXT + "0",
        TEXT + "\n",
        " " + TEXT,
        TEXT.upper(),
        TEXT.replace("hexa", "hexb"),
        TEXT.replace("0193", "\u0660193"),  # a digit of another script
        TEXT[:-1] + "é",
        TEXT[:-1] + "\udcff",
        TEXT + TEXT,
        "\x00" * API_KEY_LENGTH,
    ],
)
def test_parse_api_key_id_rejects_malformed_text(text: str) -> None:
    assert parse_api_key_id(text) is None


def test_generate_secret_draws_evenly_from_62_characters() -> None:
    secrets = [generate_secret() for _ in range(2000)]
    assert {len(secret) for secret in secrets} == {SECRET_LENGTH}
    assert len(set(secrets)) == len(secrets)
    assert SECRET_LENGTH * math.log2(len(DIGITS)) > 190
    counts = Counter("".join(secrets))
    assert set(counts) == set(DIGITS)
    expected = len(secrets) * SECRET_LENGTH / len(DIGITS)
    # Seven standard deviations: by chance once in billions of runs.
    assert all(abs(count - expected) < 7 * math.sqrt(expected) for count in counts.values())
    assert all(len({secret[place] for secret in secrets}) == len(DIGITS) for place in range(SECRET_LENGTH))


def test_pepper_set_hashes_with_the_latest_pepper() -> None:
    peppers = PepperSet({1: OLD, 3: NEW, 2: OLD})
    kept = peppers.hash(TEXT)
    assert (kept.pepper, len(kept.digest)) == (3, 32)
    assert kept.digest == PepperSet({3: NEW}).hash(TEXT).digest != PepperSet({3: OLD}).hash(TEXT).digest
    assert peppers.verify(TEXT, kept)


def test_pepper_set_hash_is_hmac_sha_256() -> None:
    # RFC 4231 section 4.3
    kept = PepperSet({1: b"Jefe"}).hash("what do ya want for nothing?")
    assert kept.digest.hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def test_pepper_set_verify_rejects_other_keys_and_digests() -> None:
    peppers = PepperSet({1: OLD})
    kept = peppers.hash(TEXT)
    assert not peppers.verify(format_api_key(ID, "1123456789abcdefghijABCDEFGHIJ01"), kept)
    assert not peppers.verify(TEXT, ApiKeyHash(pepper=1, digest=kept.digest[:-1]))
    assert not peppers.verify(TEXT, ApiKeyHash(pepper=1, digest=b""))


def test_pepper_set_verifies_hashes_of_older_peppers() -> None:
    kept = PepperSet({1: OLD}).hash(TEXT)
    assert PepperSet({1: OLD, 2: NEW}).verify(TEXT, kept)
    assert not PepperSet({2: NEW}).verify(TEXT, kept)
    assert not PepperSet({1: NEW, 2: OLD}).verify(TEXT, kept)


def test_pepper_set_encrypts_family_secrets_with_the_pepper_and_the_id() -> None:
    peppers, secret = PepperSet({1: OLD, 2: NEW}), bytes(range(32))
    encrypted = {
        peppers.encrypt_family_secret(secret, key_id, pepper) for key_id in (ID, UUID(int=0)) for pepper in (1, 2)
    }
    assert len(encrypted) == 4
    assert secret not in encrypted


def test_pepper_set_decrypts_the_family_of_a_key() -> None:
    family_id, secret = UUID(int=1), bytes(range(32))
    encrypted = PepperSet({1: OLD}).encrypt_family_secret(secret, ID, 1)
    assert encrypted.hex() == "8d48d47d1e6634324e3adee589e25add9d5f6c6ff96e9f81e2abeffcc1c90825"
    key = make_api_key(
        id=ID, secret_hash=ApiKeyHash(pepper=1, digest=bytes(32)), family_id=family_id, family_secret=encrypted
    )
    assert PepperSet({1: OLD, 2: NEW}).family_of(key) == ApiKeyFamily(id=family_id, secret=secret)
    assert PepperSet({2: NEW}).family_of(key) is None
    assert PepperSet({1: OLD}).family_of(replace(key, family_id=None, family_secret=None)) is None
    assert repr(encrypted) not in repr(key)


def test_pepper_set_repr_hides_peppers() -> None:
    assert "pepper of these tests" not in repr(PepperSet({1: OLD}))
