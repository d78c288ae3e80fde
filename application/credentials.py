"""The text of an API key, and what is kept of it.

A key reads `hexa_<id>_<secret><checksum>`: the id of the key in 32 hexadecimal digits, 32 characters of 62 drawn at
random (190 bits), and 6 that are the CRC-32 of all before them in base 62. The prefix lets scanners of code find keys,
the checksum lets them, and us, tell one from something alike without asking anybody (the form of GitHub's tokens:
"Behind GitHub's new authentication token formats", github.blog, 2021).
"""

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Callable, Mapping
from uuid import UUID

from domain.keys import HashedSecret

KEY_PATTERN = "^hexa_[0-9a-f]{32}_[0-9A-Za-z]{38}$"
KEY_LENGTH = 76
"""Characters."""

SECRET_LENGTH = 32
"""Characters of base 62: 190 bits."""

NewSecret = Callable[[], str]
"""Returns the secret of a new key: `SECRET_LENGTH` letters and digits that nobody can guess."""

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = re.compile(r"hexa_([0-9a-f]{32})_[0-9A-Za-z]{38}")
_CHECKSUM_LENGTH = 6


def new_secret() -> str:
    """Return the secret of a new key, out of the system's generator."""
    return "".join(secrets.choice(_DIGITS) for _ in range(SECRET_LENGTH))


def key_text(key_id: UUID, secret: str) -> str:
    """Return the key as its owner gets it."""
    head = f"hexa_{key_id.hex}_{secret}"
    return head + _checksum(head)


def key_id_of(text: str) -> UUID | None:
    """Return the id that the text of a key names; None when the text is no key, be it by one wrong letter."""
    found = _FORM.fullmatch(text)
    if found is None or text[-_CHECKSUM_LENGTH:] != _checksum(text[:-_CHECKSUM_LENGTH]):
        return None
    return UUID(hex=found[1])


def _checksum(head: str) -> str:
    number = zlib.crc32(head.encode("ascii"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


class Peppers:
    """The secrets that key the hashes, by version; the latest one is for new hashes.

    A pepper is kept apart from the database, so that who has only the one or the other can test no key.
    """

    def __init__(self, versions: Mapping[int, bytes]) -> None:
        self._versions = dict(versions)

    def hashed(self, text: str) -> HashedSecret:
        """Return what is kept of a key: HMAC-SHA256 (RFC 2104) under the latest pepper, of which there must be one."""
        latest = max(self._versions)
        return HashedSecret(pepper=latest, digest=_hmac(self._versions[latest], text))

    def matches(self, text: str, kept: HashedSecret) -> bool:
        """Tell, in constant time, whether this is the key of which that was kept."""
        pepper = self._versions.get(kept.pepper)
        return pepper is not None and hmac.compare_digest(_hmac(pepper, text), kept.digest)


def _hmac(pepper: bytes, text: str) -> bytes:
    return hmac.digest(pepper, text.encode("ascii"), "sha256")
