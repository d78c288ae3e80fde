"""Types and parsers of the values of settings. The messages of their errors do not contain the value."""

import os
import re
from collections.abc import Mapping
from typing import Annotated

from limits.storage import storage_from_string
from pydantic import Field, PositiveFloat, SecretBytes

MIN_SECRET_BYTES = 32
"""Bytes, or characters of text: the length of the hashes."""

RATE_LIMIT_OFF = "none"
MAX_PORT = 65_535

_RATE = re.compile(r"[1-9][0-9]{0,8}/(?:second|minute|hour|day)")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {("http", "80"), ("https", "443")}
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
# The path would be ambiguous if a proxy removes the prefix.
_OWN_PATHS = re.compile(r"/(?:api(?:/v1(?:/.*)?)?|(?:docs|problems)(?:/.*)?|livez|readyz|metrics|openapi\.json)")
_PEPPER = re.compile(r"([1-9][0-9]{0,3}):([^,]*)", re.ASCII | re.DOTALL)

Timeout = Annotated[PositiveFloat, Field(le=600)]


def parse_peppers(value: object) -> Mapping[int, SecretBytes]:
    """Return the peppers by version. Raises ValueError, whose text does not contain any pepper."""
    if isinstance(value, Mapping):
        return value
    peppers: dict[int, SecretBytes] = {}
    for entry in str(value).split(","):
        found = _PEPPER.fullmatch(entry)
        if found is None:
            raise ValueError("must look like 2:<secret>,1:<secret>, with versions of 1 to 9999")
        version = int(found[1])
        if len(found[2]) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret of version {version} must be at least {MIN_SECRET_BYTES} characters long")
        if version in peppers:
            raise ValueError(f"version {version} must appear only once")
        peppers[version] = SecretBytes(os.fsencode(found[2]))
    return peppers


def parse_cors_origins(value: object) -> frozenset[str]:
    """Return the origins in a list, in the form that browsers send. Raises ValueError."""
    origins = str(value).split(",")
    for number, origin in enumerate(origins, 1):
        found = _ORIGIN.fullmatch(origin)
        is_valid = found and found.groups() not in _DEFAULT_PORTS and int(found[2] or 0) <= MAX_PORT
        if not is_valid and origins != ["*"]:
            raise ValueError(
                f"entry {number} must look like https://app.example.org or http://localhost:3000, in lower case and "
                "without path, slash at the end, space and default port. To allow all origins, set only *"
            )
    return frozenset(origins)


def parse_root_path(value: object) -> str:
    """Return the prefix of the paths behind a proxy. Raises ValueError."""
    if value and not _ROOT_PATH.fullmatch(str(value)):
        raise ValueError("must look like /hexapost or /services/hexapost, without a slash at the end")
    if _OWN_PATHS.fullmatch(str(value)):
        raise ValueError("must not be a path of the service, such as /api or /docs. Use a path such as /hexapost")
    return str(value)


def parse_rate_limit(value: object) -> str | None:
    """Return the rate limit, or None if it is off. Raises ValueError."""
    if str(value) == RATE_LIMIT_OFF:
        return None
    if not _RATE.fullmatch(str(value)):
        raise ValueError(f"must look like 100/second, with second, minute, hour or day, or be {RATE_LIMIT_OFF}")
    return str(value)


def parse_rate_limit_store(value: object) -> str:
    """Return the URL of the store. Raises ValueError, whose text does not contain the URL and its password."""
    try:
        storage_from_string(f"async+{value}", implementation="redispy")
    except Exception:  # noqa: BLE001 - each store raises different errors
        raise ValueError("must be memory:// or, with hexapost[redis] installed, redis://host:6379/0") from None
    return str(value)
