"""The environment as validated, immutable settings. All that is wrong is said at once, a line for each."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from limits.storage import storage_from_string
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    SecretBytes,
    ValidationError,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "HEXAPOST_"
DATABASE_URL = "DATABASE_URL"
DEFAULT_DRIVER = "asyncpg"
DRIVERS = (DEFAULT_DRIVER, "psycopg")
SHORTEST_SECRET = 32
"""Bytes, or characters where it is text: as many as the hashes that they key have."""

NO_LIMIT = "none"

_RATE = re.compile(r"[1-9][0-9]{0,8}/(?:second|minute|hour|day)")
_PEPPER = re.compile(r"([1-9][0-9]{0,3}):([^,]*)", re.ASCII | re.DOTALL)


class SettingsError(Exception):
    """The environment cannot be used; `problems` says why, a line for each variable, without its value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse_database_url(value: object) -> URL:
    """Return the URL with the driver it means. Raises ValueError, without a word of the URL."""
    try:
        url = value if isinstance(value, URL) else make_url(str(value))
        scheme, _, driver = url.drivername.partition("+")
    except (ArgumentError, ValueError):
        raise ValueError("must look like postgresql+asyncpg://user:password@host:5432/database") from None
    if scheme not in {"postgresql", "postgres"} or (driver or DEFAULT_DRIVER) not in DRIVERS:
        raise ValueError(f"must begin with {' or '.join(f'postgresql+{name}://' for name in DRIVERS)}")
    if not url.database:
        raise ValueError("must name a database after the host")
    url = url.set(drivername=f"postgresql+{driver or DEFAULT_DRIVER}")
    if "sslmode" in url.query and url.drivername.endswith("asyncpg"):
        # asyncpg takes libpq's values under another name.
        url = url.update_query_dict({"ssl": url.query["sslmode"]}).difference_update_query(["sslmode"])
    return url


def parse_peppers(value: object) -> Mapping[int, SecretBytes]:
    """Return the peppers by version. Raises ValueError, without a word of any."""
    if isinstance(value, Mapping):
        return value
    peppers: dict[int, SecretBytes] = {}
    for entry in str(value).split(","):
        found = _PEPPER.fullmatch(entry)
        if found is None:
            raise ValueError("must look like 2:<secret>,1:<secret>, with versions of 1 to 9999")
        version = int(found[1])
        if len(found[2]) < SHORTEST_SECRET:
            raise ValueError(f"the secret of version {version} must be at least {SHORTEST_SECRET} characters long")
        if version in peppers:
            raise ValueError(f"version {version} must be there only once")
        peppers[version] = SecretBytes(os.fsencode(found[2]))
    return peppers


def parse_rate_limit(value: object) -> str | None:
    """Return the rate limit, None for `none`. Raises ValueError."""
    if str(value) == NO_LIMIT:
        return None
    if not _RATE.fullmatch(str(value)):
        raise ValueError(f"must look like 100/second, with second, minute, hour or day, or be {NO_LIMIT}")
    return str(value)


def parse_rate_limit_store(value: object) -> str:
    """Return the store of the rate limits. Raises ValueError, without a word of it: it may hold a password."""
    try:
        storage_from_string(f"async+{value}", implementation="redispy")
    except Exception:  # noqa: BLE001 - each store has errors of its own
        raise ValueError("must be memory:// or, with hexapost[redis] installed, redis://host:6379/0") from None
    return str(value)


class Settings(BaseModel):
    """What an operator can set. Each field but `database_url` is the variable `HEXAPOST_` + its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    database_url: Annotated[URL, BeforeValidator(parse_database_url)] | None = Field(
        default=None, description="the database, as `postgresql+asyncpg://…` or `postgresql+psycopg://…`"
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level to log")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="JSON lines or readable ones; `auto` is readable on a terminal only"
    )
    max_body_bytes: int = Field(default=65_536, ge=1024, le=16_777_216, description="largest request body")
    max_json_depth: int = Field(default=32, ge=1, le=256, description="most levels of arrays and objects in a body")
    max_headers: int = Field(default=100, ge=10, le=10_000, description="most headers of a request")
    max_header_bytes: int = Field(
        default=32_768, ge=1024, le=1_048_576, description="largest request line with headers"
    )
    head_timeout_seconds: PositiveFloat = Field(
        default=10.0, le=600, description="longest wait for a request line with headers"
    )
    body_timeout_seconds: PositiveFloat = Field(
        default=10.0, le=600, description="longest wait for the body after them"
    )
    request_timeout_seconds: PositiveFloat = Field(
        default=10.0, le=600, description="longest time from the end of the body to the response"
    )
    send_timeout_seconds: PositiveFloat = Field(
        default=20.0, le=600, description="longest wait for a client to read more of a response"
    )
    max_requests_in_work: int = Field(
        default=256, ge=1, le=100_000, description="requests that each process works on at once; more are answered 503"
    )
    workers: int = Field(default=1, ge=1, le=256, description="processes that serve; more than one are supervised")
    pool_size: int = Field(default=10, ge=1, le=1000, description="connections to the database, for each process")
    pool_timeout_seconds: PositiveFloat = Field(default=2.0, le=60, description="longest wait for a free connection")
    connect_timeout_seconds: PositiveFloat = Field(default=2.0, le=60, description="longest wait for a new connection")
    attempt_timeout_seconds: PositiveFloat = Field(
        default=2.25, ge=0.05, le=600, description="longest wait for the database of one attempt, answered or not"
    )
    statement_timeout_seconds: PositiveFloat = Field(
        default=2.0, ge=0.001, le=600, description="longest time of one statement of a request"
    )
    idle_in_transaction_timeout_seconds: PositiveFloat = Field(
        default=10.0, ge=0.001, le=600, description="longest pause in a transaction before the server ends it"
    )
    prepared_statements: bool = Field(
        default=True, description="`false` behind a pooler in transaction mode, such as PgBouncer"
    )
    retry_deadline_seconds: NonNegativeFloat = Field(
        default=8.0, le=60, description="how long a request is tried again while the database fails"
    )
    cursor_secret: SecretBytes | None = Field(
        default=None,
        min_length=SHORTEST_SECRET,
        description="key that signs page cursors, the same in every process; by default made once and kept",
    )
    key_peppers: Annotated[Mapping[int, SecretBytes], BeforeValidator(parse_peppers)] | None = Field(
        default=None,
        description="secrets that key the hashes of API keys, as `2:…,1:…`, the highest version for new keys, "
        "the same in every process; by default made once and kept",
    )
    key_cache_seconds: NonNegativeFloat = Field(
        default=5.0, le=300, description="how long a process takes a key for what it was: the revocation delay"
    )
    idempotency_hours: PositiveFloat = Field(
        default=24.0, le=720, description="how long a request with an `Idempotency-Key` gets the same answer again"
    )
    purge_interval_seconds: float = Field(
        default=300.0, ge=1, le=86_400, description="how often each process removes what has expired"
    )
    rate_limit: Annotated[str | None, BeforeValidator(parse_rate_limit)] = Field(
        default="100/second", description="most requests with one API key, such as `6000/minute`; `none` for any number"
    )
    rate_limit_store: Annotated[str, BeforeValidator(parse_rate_limit_store)] = Field(
        default="memory://",
        repr=False,
        description="where requests are counted: each process for itself, or all together in `redis://host:6379/0`",
    )
    state_directory: Path = Field(default=Path(".hexapost"), description="where local state lives")


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings in the environment.

    Raises SettingsError for every variable that is unknown or invalid, all at once.
    """
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    given: dict[str, Any] = {name.removeprefix(PREFIX).lower(): ours[name] for name in ours if name.isupper()}
    given.pop("database_url", None)
    problems = [f"{name}: settings are written in capitals" for name in ours if not name.isupper()]
    if f"{PREFIX}DATABASE_URL" in ours:
        problems.append(f"{PREFIX}DATABASE_URL: the variable is called {DATABASE_URL}")
    if environment.get(DATABASE_URL):
        given["database_url"] = environment[DATABASE_URL]
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(problems + [_problem(dict(item)) for item in error.errors()]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def variable(field: str) -> str:
    """Return the name of the environment variable of a field of `Settings`."""
    return DATABASE_URL if field == "database_url" else PREFIX + field.upper()


def database_url() -> str:
    """Return DATABASE_URL with its driver and its password, for tools that take a string. Raises SettingsError."""
    url = load_settings(os.environ).database_url
    if url is None:
        raise SettingsError([f"{DATABASE_URL}: must be set"])
    return url.render_as_string(hide_password=False)


def _problem(error: Mapping[str, Any]) -> str:
    name = variable(str(error["loc"][0]))
    if error["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    if error["type"] == "too_short":
        return f"{name}: must be at least {error['ctx']['min_length']} bytes long"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[0].lower()}{message[1:]}"
