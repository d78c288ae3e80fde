"""The format and the hash of API keys.

The format is `hexa_<id>_<secret><checksum>`: the ID of the key in 32 hexadecimal digits, 32 random base-62 characters
(190 bits), and the CRC-32 of the preceding text in 6 base-62 characters. Secret scanners find keys by the prefix. The
checksum identifies malformed keys without a lookup. GitHub's tokens have the same form ("Behind GitHub's new
authentication token formats", github.blog, 2021).
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Callable, Mapping
from uuid import UUID

from domain.api_keys import ApiKey, ApiKeyFamily, ApiKeyHash

API_KEY_PREFIX = "hexa_"
API_KEY_PATTERN = f"^{API_KEY_PREFIX}[0-9a-f]{{32}}_[0-9A-Za-z]{{38}}$"
API_KEY_LENGTH = 76
"""Characters."""

SECRET_LENGTH = 32
"""Characters of base 62: 190 bits."""

GenerateSecret = Callable[[], str]
"""Returns the secret of a new key: `SECRET_LENGTH` random letters and digits."""

_BASE62_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_API_KEY_REGEX = re.compile(rf"{API_KEY_PREFIX}([0-9a-f]{{32}})_[0-9A-Za-z]{{38}}")
_CHECKSUM_LENGTH = 6


def generate_secret() -> str:
    """Return the secret of a new key, from the random generator of the operating system."""
    return "".join(secrets.choice(_BASE62_ALPHABET) for _ in range(SECRET_LENGTH))


def format_api_key(key_id: UUID, secret: str) -> str:
    """Return the API key in its text form."""
    head = f"{API_KEY_PREFIX}{key_id.hex}_{secret}"
    return head + _checksum(head)


def parse_api_key_id(text: str) -> UUID | None:
    """Return the ID in an API key, None if the text is malformed or its checksum is wrong."""
    found = _API_KEY_REGEX.fullmatch(text)
    if found is None or text[-_CHECKSUM_LENGTH:] != _checksum(text[:-_CHECKSUM_LENGTH]):
        return None
    return UUID(hex=found[1])


def new_family(key_id: UUID, text: str) -> ApiKeyFamily:
    """Return the family that starts with this key. Its secret does not reveal the key.

    Releases without families key the idempotency records with the text of the key. HMAC uses the SHA-256 of keys beyond
    64 bytes (RFC 2104), so both releases find the records of this key.
    """
    return ApiKeyFamily(id=key_id, secret=hashlib.sha256(text.encode("ascii")).digest())


def _checksum(head: str) -> str:
    number = zlib.crc32(head.encode("ascii"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_BASE62_ALPHABET))
        digits = _BASE62_ALPHABET[digit] + digits
    return digits


class PepperSet:
    """The secrets that key the hashes, by version. The highest version is used for new hashes.

    Peppers are stored outside the database, so that neither the database nor the peppers alone suffice to test a key.
    """

    def __init__(self, versions: Mapping[int, bytes]) -> None:
        self._versions = dict(versions)

    def hash(self, text: str) -> ApiKeyHash:
        """Return the hash of a key: HMAC-SHA256 (RFC 2104) under the latest pepper. Requires at least one pepper."""
        latest = max(self._versions)
        return ApiKeyHash(pepper=latest, digest=_hmac(self._versions[latest], text))

    def verify(self, text: str, expected: ApiKeyHash) -> bool:
        """Return True if the key has this hash, in constant time."""
        pepper = self._versions.get(expected.pepper)
        return pepper is not None and hmac.compare_digest(_hmac(pepper, text), expected.digest)

    def encrypt_family_secret(self, secret: bytes, key_id: UUID, pepper: int) -> bytes:
        """Return the secret, encrypted for storage in one key. A second call decrypts it.

        It is a one-time pad: each key has a new ID, whose HMAC is used for nothing else.
        """
        pad = hmac.digest(self._versions[pepper], b"family\0" + key_id.bytes, "sha256")
        return bytes(left ^ right for left, right in zip(secret, pad, strict=True))

    def family_of(self, key: ApiKey) -> ApiKeyFamily | None:
        """Return the family of a key, None if the key has no family or its pepper was removed."""
        pepper = key.secret_hash.pepper
        if key.family_id is None or key.family_secret is None or pepper not in self._versions:
            return None
        return ApiKeyFamily(id=key.family_id, secret=self.encrypt_family_secret(key.family_secret, key.id, pepper))


def _hmac(pepper: bytes, text: str) -> bytes:
    return hmac.digest(pepper, text.encode("ascii"), "sha256")
