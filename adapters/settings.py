"""Settings from environment variables and files. All errors are reported together, one line per variable.

A setting is taken from the first of these sources that has it: the arguments of the command, the environment, `.env` in
the working directory, the file that its `_FILE` variable names, and its file in the secrets directory. An empty
variable counts as unset. Kubernetes adds variables for a Service with the name `hexapost`, which are ignored.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

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
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import URL
from typing_extensions import override

from adapters.database_url import parse_database_url
from adapters.setting_values import (
    MAX_PORT,
    MIN_SECRET_BYTES,
    Timeout,
    parse_cors_origins,
    parse_peppers,
    parse_rate_limit,
    parse_rate_limit_store,
    parse_root_path,
)

PREFIX = "HEXAPOST_"
DATABASE_URL = "DATABASE_URL"
DOTENV = ".env"
FILE_SUFFIX = "_FILE"
SECRETS_DIRECTORY = "HEXAPOST_SECRETS_DIRECTORY"
EXAMPLE_URL = "postgresql+asyncpg://user:password@localhost:5432/hexapost"

_SERVICE_LINK = re.compile(
    r"HEXAPOST_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|PORT(?==\w+://))="
)


class SettingsError(Exception):
    """The environment is invalid. `errors` has one line per variable, without its value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.errors = problems


class Settings(BaseModel):
    """The settings. The variable of each field is `HEXAPOST_` and its name in capitals, except `DATABASE_URL`."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)

    database_url: Annotated[URL | None, BeforeValidator(lambda url: parse_database_url(url) if url else None)] = Field(
        None, description="URL of the database: `postgresql+asyncpg://…` or `postgresql+psycopg://…`"
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on; `::` for all addresses of IPv6 and IPv4"
    )
    port: int = Field(8000, ge=0, le=MAX_PORT, description="port to listen on; 0 selects a free port")
    root_path: Annotated[str, BeforeValidator(parse_root_path)] = Field(
        "", max_length=200, description="prefix of all paths behind a proxy, such as `/hexapost`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum log level")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json` lines or readable `console` text; `auto` is `console` on a terminal"
    )
    max_body_bytes: int = Field(65_536, ge=1024, le=16_777_216, description="maximum size of a request body")
    max_json_depth: int = Field(32, ge=1, le=256, description="maximum nesting of arrays and objects in a body")
    max_headers: int = Field(100, ge=10, le=10_000, description="maximum number of request headers")
    max_header_bytes: int = Field(
        32_768, ge=1024, le=1_048_576, description="maximum size of the request line and headers"
    )
    header_timeout_seconds: Timeout = Field(10.0, description="time limit for receiving the request line and headers")
    body_timeout_seconds: Timeout = Field(10.0, description="time limit for receiving the request body")
    request_timeout_seconds: Timeout = Field(10.0, description="time limit from the end of the body to the response")
    export_timeout_seconds: Timeout = Field(60.0, description="time limit for an export of all data about a user")
    write_timeout_seconds: Timeout = Field(20.0, description="time limit for a client that does not read its response")
    max_concurrent_requests: int = Field(
        256,
        ge=1,
        le=100_000,
        description="maximum number of concurrent requests per process; further requests get a 503",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="number of worker processes; with more than one, a supervisor restarts failed workers",
    )
    db_pool_size: int = Field(10, ge=1, le=1000, description="maximum number of database connections per process")
    db_pool_timeout_seconds: PositiveFloat = Field(
        2.0, le=60, description="time limit for getting a connection from the pool"
    )
    db_connect_timeout_seconds: PositiveFloat = Field(
        2.0, le=60, description="time limit for opening a database connection"
    )
    db_connection_max_lifetime_seconds: NonNegativeFloat = Field(
        1800.0, le=86_400, description="maximum age of a database connection; `0` for no limit"
    )
    db_connection_max_idle_seconds: NonNegativeFloat = Field(
        600.0, le=86_400, description="time after which an unused database connection is closed; `0` for no limit"
    )
    db_attempt_timeout_seconds: Timeout = Field(
        2.25, ge=0.05, description="time limit of one attempt of a transaction, also if the server does not respond"
    )
    db_statement_timeout_seconds: Timeout = Field(2.0, ge=0.001, description="time limit of one SQL statement")
    db_idle_in_transaction_timeout_seconds: Timeout = Field(
        10.0, ge=0.001, description="time after which the server ends an idle transaction"
    )
    db_prepared_statements: bool = Field(
        default=True, description="set to `false` behind a connection pooler in transaction mode, such as PgBouncer"
    )
    db_retry_deadline_seconds: NonNegativeFloat = Field(
        8.0, le=60, description="how long a request is retried if the database fails"
    )
    cursor_secret: SecretBytes | None = Field(
        None,
        min_length=MIN_SECRET_BYTES,
        description="secret that signs page cursors, identical in all processes; by default generated and stored",
    )
    api_key_peppers: Annotated[Mapping[int, SecretBytes], BeforeValidator(parse_peppers)] | None = Field(
        None,
        description="secrets of the API key hashes, such as `2:…,1:…`, identical in all processes; new keys use the "
        "highest version; by default generated and stored",
    )
    api_key_cache_seconds: NonNegativeFloat = Field(
        5.0, le=300, description="how long each process caches a verified API key; a revoked key can work for this long"
    )
    cors_origins: Annotated[frozenset[str], BeforeValidator(parse_cors_origins)] | None = Field(
        None,
        description="origins of web pages that may call the API from a browser, such as "
        "`https://app.example.org,http://localhost:3000`; `*` for all origins; by default none",
    )
    idempotency_retention_hours: PositiveFloat = Field(
        24.0, le=720, description="how long a repeated request with an `Idempotency-Key` gets the same response"
    )
    draft_retention_days: int | None = Field(
        None, ge=1, le=36_500, description="days after the last change of a draft until it is deleted; by default never"
    )
    archived_post_retention_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="days after the last change of an archived post until it is deleted; by default never",
    )
    inactive_user_retention_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="days after the last change of an inactive user until they are erased; by default never",
    )
    audit_retention_days: int | None = Field(
        None, ge=1, le=36_500, description="days after which an audit entry is deleted; by default never"
    )
    purge_interval_seconds: float = Field(
        300.0, ge=1, le=86_400, description="interval at which each process deletes expired data"
    )
    rate_limit: Annotated[str | None, BeforeValidator(parse_rate_limit)] = Field(
        "100/second", description="maximum request rate per API key, such as `6000/minute`; `none` for no limit"
    )
    rate_limit_store: Annotated[str, BeforeValidator(parse_rate_limit_store)] = Field(
        "memory://",
        repr=False,
        description="where requests are counted: `memory://` per process, or shared in `redis://host:6379/0`",
    )
    state_directory: Path = Field(Path(".hexapost"), description="directory of local state")
    secrets_directory: Path | None = Field(
        None, description="directory of files that contain settings; the name of a file is that of the variable"
    )


def variable(field: str) -> str:
    """Return the name of the environment variable of a field of `Settings`."""
    return DATABASE_URL if field == "database_url" else PREFIX + field.upper()


def load_settings(**arguments: str) -> Settings:
    """Return the settings. An argument overrides all other sources of the field with its name.

    Raises one SettingsError for all unknown or invalid variables.
    """
    given: dict[str, Any] = {variable(field): value for field, value in arguments.items()}
    try:
        return _LoadedSettings(**given)
    except ValidationError as error:
        raise SettingsError([_format_error(dict(item)) for item in error.errors()]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{DOTENV}: {_unreadable(error)}"]) from None


def database_url() -> str:
    """Return DATABASE_URL as text, with its driver and its password. Raises SettingsError."""
    return require_url(load_settings().database_url).render_as_string(hide_password=False)


def require_url(url: URL | None, advice: str = "") -> URL:
    """Return the URL of the database. Raises SettingsError with the advice if it is not set."""
    if url is None:
        raise SettingsError([f"{DATABASE_URL} is not set. Example: {EXAMPLE_URL}{advice}"])
    return url


_VARIABLES = frozenset(map(variable, Settings.model_fields))
_FILE_VARIABLES = frozenset(name + FILE_SUFFIX for name in _VARIABLES - {SECRETS_DIRECTORY})


class _InvalidValue:
    """A value that no setting accepts, with the reason."""

    def __init__(self, message: str) -> None:
        self.message = message


class _VariablesAndFiles(PydanticBaseSettingsSource):
    """The settings in variables and files. Errors in names and files are values that fail the validation."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        environment = EnvSettingsSource(settings_cls).env_vars
        dotenv = DotEnvSettingsSource(settings_cls, env_file=DOTENV).env_vars
        merged = {name: _without_newline(value or "") for name, value in {**dotenv, **environment}.items()}
        self._variables = {
            name: value for name, value in merged.items() if value and not _SERVICE_LINK.match(f"{name}={value}")
        }
        self._directory = Path(self._variables.get(SECRETS_DIRECTORY, os.devnull))

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        name = variable(field_name)
        value = self._variables.get(name)
        file = self._variables.get(name + FILE_SUFFIX) if name + FILE_SUFFIX in _FILE_VARIABLES else None
        if value and file:
            return _InvalidValue(f"must not be set together with {name}{FILE_SUFFIX}"), name, False
        if file:
            return _read_file(Path(file), name + FILE_SUFFIX), name, False
        path = self._directory / name
        if value is None and os.path.lexists(path):
            return _read_file(path, SECRETS_DIRECTORY), name, False
        return value, name, False

    @override
    def __call__(self) -> dict[str, object]:
        fields = [self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items()]
        values = {name: value for value, name, _ in fields if value is not None}
        unknown = self._variables.keys() - _VARIABLES - _FILE_VARIABLES
        if SECRETS_DIRECTORY in self._variables:
            try:
                unknown |= {path.name for path in self._directory.iterdir()} - _VARIABLES
            except OSError as error:
                values[SECRETS_DIRECTORY] = _InvalidValue(_unreadable(error))
        return values | {name: None for name in sorted(unknown) if name.startswith(PREFIX)}


class _LoadedSettings(BaseSettings, Settings):
    """The settings with their sources."""

    model_config = SettingsConfigDict(
        alias_generator=variable,
        case_sensitive=True,
        dotenv_filtering="only_existing",
        enable_decoding=False,
    )

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _VariablesAndFiles(settings_cls)


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _read_file(path: Path, origin: str) -> object:
    try:
        return _without_newline(os.fsdecode(path.read_bytes()))
    except (OSError, ValueError) as error:
        return _InvalidValue(f"its file in {origin} {_unreadable(error)}")


def _unreadable(error: OSError | ValueError) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or "invalid text"
    return f"cannot be read: {reason.lower()}"


def _format_error(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    if isinstance(error["input"], _InvalidValue):
        return f"{name}: {error['input'].message}"
    if error["type"] == "extra_forbidden":
        if not name.isupper():
            return f"{name}: unknown setting. Names of settings are in capitals"
        similar = difflib.get_close_matches(name, (_VARIABLES | _FILE_VARIABLES) - {name}, n=1)
        return f"{name}: unknown setting." + (f" Did you mean {similar[0]}?" if similar else "")
    if error["type"] == "too_short":
        return f"{name}: must be at least {error['ctx']['min_length']} bytes long"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[0].lower()}{message[1:]}"
