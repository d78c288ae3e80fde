"""E-mail addresses: validation and normalization.

An address has the dot-atom form of RFC 5322 section 3.4.1 with the international characters of RFC 6531. Its domain
name has at least two labels (RFC 1035, IDNA 2008). Display names, comments, quoted local parts and address literals are
rejected.
"""

import re
import unicodedata

import idna

from domain.errors import FieldValidationError

MAX_EMAIL_BYTES = 254
"""Octets of an address in UTF-8: a path of RFC 5321 section 4.5.3.1.3 without its angle brackets."""

_MAX_LOCAL_PART_BYTES = 64  # octets, RFC 5321 section 4.5.3.1.1
_MAX_DOMAIN_LENGTH = 253  # octets of the ASCII form, RFC 1035 section 2.3.4 without the length octets
# atext of RFC 5322 section 3.2.3, and any character beyond ASCII (RFC 6531 section 3.3)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010FFFF-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}")
# IDNA decides about joiners in a domain, which Persian and Indic names need (RFC 5892, appendix A).
_JOINERS = re.compile(r"[\u200C\u200D]")
# Invisible characters that `str.isprintable` accepts: Default_Ignorable_Code_Point (Unicode Annex 44), and a blank.
_IGNORABLE = re.compile(
    r"[\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0F\uFFA0\U000E0100-\U000E01EF]"
)


def validate_email(text: str) -> str:
    """Return the address unchanged. Raises FieldValidationError if it is not a valid address."""
    normalize_email(text)
    return text


def normalize_email(text: str) -> str:
    """Return the canonical form of an address, which is the same for all spellings of a mailbox.

    The local part is normalized by NFKC (Unicode Annex 15) and case folding, the domain to its ASCII form (Unicode
    Technical Standard 46, non-transitional). Raises FieldValidationError if the text is not a valid address.
    """
    local_part, _, domain = text.rpartition("@")
    visible = local_part + _JOINERS.sub("", domain)
    folded_local_part = local_part.lower() if local_part.isascii() else _fold(local_part)
    domain = domain.lower()
    if not domain.isascii() or "xn--" in domain:
        # Python's codec `idna` implements IDNA 2003, which maps the different domains faß.de and fass.de to one.
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            domain = ""
    if (
        not visible.isprintable()
        or _IGNORABLE.search(text)
        or not _LOCAL_PART.fullmatch(local_part)
        or not _LOCAL_PART.fullmatch(folded_local_part)
        or not _DOMAIN.fullmatch(domain)
        or len(local_part.encode()) > _MAX_LOCAL_PART_BYTES
        or len(text.encode()) > MAX_EMAIL_BYTES
        or len(domain) > _MAX_DOMAIN_LENGTH
    ):
        raise FieldValidationError("email", "Must be an e-mail address such as ada@example.org.")
    return f"{folded_local_part}@{domain}"


def _fold(text: str) -> str:
    # Compatibility caseless matching (Unicode Standard, section 3.13, definition D146). Normalization and case folding
    # alternate, because each can undo the other.
    for form in ("NFD", "NFKD", "NFKC"):
        text = unicodedata.normalize(form, text).casefold()
    return unicodedata.normalize("NFKC", text)
