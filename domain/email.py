"""E-mail addresses: which are accepted, and when two are the same.

Accepted is the dot-atom form of RFC 5322 section 3.4.1 with the international characters of RFC 6531 and a domain name
of at least two labels (RFC 1035, RFC 3490). Display names, comments, quoted local parts and address literals are
refused.
"""

import re
import unicodedata

from domain.errors import InvalidValueError

LONGEST_EMAIL = 254
"""Octets of an address in UTF-8: a path of RFC 5321 section 4.5.3.1.3 less its angle brackets."""

_LONGEST_LOCAL_PART = 64  # octets, RFC 5321 section 4.5.3.1.1
_LONGEST_DOMAIN = 253  # octets of the ASCII form, RFC 1035 section 2.3.4 less the length octets
# atext of RFC 5322 section 3.2.3, and any character beyond ASCII (RFC 6531 section 3.3)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010FFFF-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}")
_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
# What no category tells: the other letters and marks of Default_Ignorable_Code_Point (Unicode Annex 44), and a blank.
_IGNORABLE = re.compile(
    r"[\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0F\uFFA0\U000E0100-\U000E01EF]"
)


def clean_email(text: str) -> str:
    """Return the address as it was given; nothing in it is changed.

    Raises InvalidValueError when it is not an address that mail could be sent to.
    """
    email_key(text)
    return text


def email_key(text: str) -> str:
    """Return what two spellings of one mailbox have in common, fit for a unique index.

    The local part is compared after NFKC (Unicode Annex 15) and case folding, the domain in its ASCII form (IDNA, RFC
    3490). Raises InvalidValueError when the text is not an address.
    """
    local_part, at, domain = text.rpartition("@")
    folded = _folded(local_part)
    if (
        not at
        or not _is_visible(text)
        or not _LOCAL_PART.fullmatch(local_part)
        or not _LOCAL_PART.fullmatch(folded)
        or len(local_part.encode()) > _LONGEST_LOCAL_PART
        or len(text.encode()) > LONGEST_EMAIL
    ):
        raise _refusal()
    return f"{folded}@{_ascii_domain(domain)}"


def _folded(text: str) -> str:
    # Compatibility caseless matching: case folding can undo a normal form, and the other way round (Unicode Standard,
    # section 3.13, definition D146).
    if text.isascii():
        return text.lower()
    for form in ("NFD", "NFKD", "NFKC"):
        text = unicodedata.normalize(form, text).casefold()
    return unicodedata.normalize("NFKC", text)


def _ascii_domain(domain: str) -> str:
    try:
        name = _folded(domain).encode("idna").decode().lower()
    except UnicodeError:
        raise _refusal() from None
    if len(name) > _LONGEST_DOMAIN or not _DOMAIN.fullmatch(name):
        raise _refusal()
    return name


def _is_visible(text: str) -> bool:
    if text.isascii():
        return True
    return not _IGNORABLE.search(text) and not any(unicodedata.category(c) in _INVISIBLE for c in text)


def _refusal() -> InvalidValueError:
    return InvalidValueError("email", "It must be an e-mail address such as ada@example.org.")
