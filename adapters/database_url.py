"""The URL of the database, with the parameters of libpq. Error texts contain names of parameters, but no values."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

DEFAULT_DRIVER = "asyncpg"
DRIVERS = (DEFAULT_DRIVER, "psycopg")
TLS_PARAMETERS = (
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_REQUIRES_TLS = ("require", "verify-ca", "verify-full")
_IDENTITY = {"user": "username", "password": "password", "dbname": "database"}
_PROTOCOL_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_VALUES = {
    "sslmode": ("disable", "allow", "prefer", *_REQUIRES_TLS),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _PROTOCOL_VERSIONS,
    "ssl_max_protocol_version": _PROTOCOL_VERSIONS,
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "primary"),  # the service writes
    "load_balance_hosts": ("disable", "random"),
}
_SUPPORTED = {*_IDENTITY, *TLS_PARAMETERS, *_VALUES, "host", "port", "options", "application_name", "passfile"}
_PSYCOPG_ONLY = {
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "requirepeer"),
    *("sslcompression", "sslcertmode", "sslcrldir", "sslsni", "require_auth", "gssencmode", "gssdelegation"),
    *("krbsrvname", "gsslib", "min_protocol_version", "max_protocol_version"),
}
_REPLACED = {
    "connect_timeout": "HEXAPOST_DB_CONNECT_TIMEOUT_SECONDS",
    "hostaddr": "host",
    "service": "host",
    "client_encoding": "UTF8, which is always used",
    "pgbouncer": "HEXAPOST_DB_PREPARED_STATEMENTS",
    "fallback_application_name": "application_name",
    "scram_client_key": "password",
    "scram_server_key": "password",
}
_UNSUPPORTED = {
    "replication",
    "sslkeylogfile",
    *(f"oauth_{name}" for name in ("issuer", "client_id", "client_secret", "scope")),
}
_HOST_LIST = re.compile(r"([^:/?#]+://(?:[^/?#]*@)?)([^/?#@]*,[^/?#@]*)(.*)", re.DOTALL)
_ADDRESS = re.compile(r"(?:\[([^\]]+)\]|(/.*|[^:]*))(?::([0-9]+))?")
_OPTION = re.compile(r"\s*(?:-c\s*|--)([\w.]+)=((?:\\.|[^\s\\])*)\s*", re.ASCII)


class Host(NamedTuple):
    """The address of a server. None means the default of the driver."""

    name: str | None
    port: int | None

    def __str__(self) -> str:
        name = f"[{self.name}]" if self.name and ":" in self.name else self.name or "the default host"
        return f"{name}:{self.port or 5432}"


def parse_database_url(value: object) -> URL:
    """Return the URL with an explicit driver. Raises ValueError, whose text does not contain the URL."""
    if "%00" in str(value):
        raise ValueError("must not have %00")
    if str(value).partition("?")[0].count("@") > 1:  # its rest would be the name of the host, which is logged
        raise ValueError("must have %40 in place of each @ in the user and the password")
    try:
        url = value if isinstance(value, URL) else make_url(_move_host_list(str(value).strip()))
        scheme, _, driver = url.drivername.partition("+")
    except (ArgumentError, ValueError):
        raise ValueError("must look like postgresql+asyncpg://user:password@host:5432/database") from None
    driver = driver or DEFAULT_DRIVER
    if scheme not in {"postgresql", "postgres"} or driver not in DRIVERS:
        raise ValueError(f"must begin with {' or '.join(f'postgresql+{name}://' for name in DRIVERS)}")
    if "ssl" in url.query:  # the name of SQLAlchemy and asyncpg
        url = url.update_query_dict({"sslmode": url.query["ssl"]})
    query = {name: value for name, value in url.query.items() if name != "ssl"}
    for name, text in query.items():
        _check_parameter(name, text, driver)
    if query.get("sslnegotiation") == "direct" and query.get("sslmode") not in _REQUIRES_TLS:
        raise ValueError("must have sslmode=require, or a stricter one, with sslnegotiation=direct")
    identity = {_IDENTITY[name]: query.pop(name) for name in _IDENTITY.keys() & query}
    url = url.set(drivername=f"postgresql+{driver}", query=query, **identity)  # type: ignore[arg-type]
    if not url.database:
        raise ValueError("must name a database after the host")
    hosts_of(url)
    options_of(url)
    return url


def hosts_of(url: URL) -> list[Host]:
    """Return the addresses of the servers, of which a URL can have several in three forms. Raises ValueError."""
    names = _split(url.query.get("host", unquote(url.host or "")))
    ports = _split(url.query.get("port", "" if url.port is None else str(url.port)))
    if len(ports) not in {1, len(names)}:
        raise ValueError("must have one port, or as many ports as hosts")
    hosts = []
    for name, port in zip(names, ports * (len(names) // len(ports)), strict=True):
        found = _ADDRESS.fullmatch(name)  # None for an IPv6 address without brackets
        host, number = (found[1] or found[2], found[3] or port) if found else (name, port)
        if number and not (number.isdecimal() and int(number) in range(1, 65_536)):
            raise ValueError("must have ports of 1 to 65535")
        hosts.append(Host(host or None, int(number) if number else None))
    return hosts


def options_of(url: URL) -> Mapping[str, str]:
    """Return the server settings in the parameter `options`. Raises ValueError."""
    text = str(url.query.get("options", ""))
    found = list(_OPTION.finditer(text))
    if "".join(option[0] for option in found) != text:
        raise ValueError("options must look like -c name=value")
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in (option.groups() for option in found)}


def _move_host_list(text: str) -> str:
    """Move several hosts of libpq's form `user@a:1,b:2/database` to parameters, because SQLAlchemy rejects them."""
    found = _HOST_LIST.fullmatch(text)
    if found is None:
        return text
    start, hosts, rest = found.groups()
    return f"{start}{rest}{'&' if '?' in rest else '?'}host={hosts}"


def _split(value: str | tuple[str, ...]) -> list[str]:
    return ",".join([value] if isinstance(value, str) else value).split(",")


def _check_parameter(name: str, value: str | tuple[str, ...], driver: str) -> None:
    """Raise ValueError for a parameter that the driver does not support. Only known names appear in its text."""
    if name in _REPLACED:
        raise ValueError(f"must not have the parameter {name}. Use {_REPLACED[name]}")
    if name in _UNSUPPORTED:
        raise ValueError(f"must not have the parameter {name}, which is not supported")
    if name not in _SUPPORTED | _PSYCOPG_ONLY:
        raise ValueError("must have only parameters of libpq after the question mark")
    if name in _PSYCOPG_ONLY and driver != "psycopg":
        raise ValueError(f"must not have the parameter {name}, which only postgresql+psycopg:// supports")
    if name not in {"host", "port"} and not isinstance(value, str):
        raise ValueError(f"must have the parameter {name} only once")
    if name in _VALUES and value not in _VALUES[name]:
        raise ValueError(f"must have one of these values of {name}: {', '.join(_VALUES[name])}")
    if (name, value) == ("channel_binding", "require") and driver != "psycopg":
        raise ValueError("must not have channel_binding=require, which only postgresql+psycopg:// supports")
    if name in _FILES and value != "system" and not os.access(str(value), os.R_OK):
        raise ValueError(f"must name a readable file in the parameter {name}")
