"""Tests for the settings."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import SecretBytes, ValidationError
from sqlalchemy import make_url

from adapters.container import Container
from adapters.database_url import parse_database_url
from adapters.http.dependencies import DEFAULT_IDEMPOTENCY_RETENTION
from adapters.http.middleware.admission import MAX_CONCURRENT_REQUESTS
from adapters.http.middleware.http_protocol import WRITE_TIMEOUT_SECONDS
from adapters.http.middleware.request_limits import HeaderLimits, RequestLimits
from adapters.postgres.pool import DatabaseOptions
from adapters.settings import Settings, SettingsError, database_url, load_settings, variable
from application.transactions import RetryPolicy

URL = "postgresql+asyncpg://ada:s3cret@db.example.org:5433/posts"
PSYCOPG_URL = URL.replace("asyncpg", "psycopg")
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a sample
OTHER = "fedcba9876543210 fedcba:9876543210"
DEFAULTS = dict(Settings())

RANGES = [
    # field, below, minimum, maximum, above
    ("port", "-1", "0", "65535", "65536"),
    ("max_body_bytes", "1023", "1024", "16777216", "16777217"),
    ("max_json_depth", "0", "1", "256", "257"),
    ("max_headers", "9", "10", "10000", "10001"),
    ("max_header_bytes", "1023", "1024", "1048576", "1048577"),
    ("header_timeout_seconds", "0", "0.5", "600", "601"),
    ("body_timeout_seconds", "0", "0.5", "600", "601"),
    ("request_timeout_seconds", "0", "0.5", "600", "nan"),
    ("export_timeout_seconds", "0", "0.5", "600", "601"),
    ("write_timeout_seconds", "0", "0.5", "600", "601"),
    ("max_concurrent_requests", "0", "1", "100000", "100001"),
    ("workers", "0", "1", "256", "257"),
    ("db_pool_size", "0", "1", "1000", "1001"),
    ("db_pool_timeout_seconds", "0", "0.5", "60", "60.1"),
    ("db_connect_timeout_seconds", "-1", "0.1", "60", "inf"),
    ("db_connection_max_lifetime_seconds", "-1", "0", "86400", "86401"),
    ("db_connection_max_idle_seconds", "-1", "0", "86400", "inf"),
    ("db_attempt_timeout_seconds", "0", "0.05", "600", "601"),
    ("db_statement_timeout_seconds", "0", "0.001", "600", "601"),
    ("db_idle_in_transaction_timeout_seconds", "0", "0.001", "600", "601"),
    ("db_retry_deadline_seconds", "-0.1", "0", "60", "nan"),
    ("api_key_cache_seconds", "-0.1", "0", "300", "300.1"),
    ("idempotency_retention_hours", "0", "0.01", "720", "720.1"),
    ("draft_retention_days", "0", "1", "36500", "36501"),
    ("archived_post_retention_days", "-1", "1", "36500", "1.5"),
    ("inactive_user_retention_days", "0", "1", "36500", "inf"),
    ("audit_retention_days", "0", "1", "36500", "inf"),
    ("purge_interval_seconds", "0.9", "1", "86400", "inf"),
]
VALID: list[tuple[str, str, Any]] = [
    *(
        (field, text, type(Settings.model_fields[field].default or 0)(text))
        for field, _, minimum, maximum, _ in RANGES
        for text in (minimum, maximum)
    ),
    ("database_url", URL, make_url(URL)),
    ("database_url", URL.replace("+asyncpg", ""), make_url(URL)),
    ("database_url", URL.replace("ql+asyncpg", ""), make_url(URL)),
    ("database_url", PSYCOPG_URL, make_url(PSYCOPG_URL)),
    ("database_url", f"{URL}?ssl=require", make_url(f"{URL}?sslmode=require")),
    ("database_url", f"{PSYCOPG_URL}?sslmode=require", make_url(f"{PSYCOPG_URL}?sslmode=require")),
    ("host", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - a sample
    ("root_path", "/hexapost", "/hexapost"),
    ("root_path", "/api/hexapost_2/~x.y", "/api/hexapost_2/~x.y"),
    ("log_level", "debug", "debug"),
    ("log_level", "error", "error"),
    ("log_format", "json", "json"),
    ("log_format", "console", "console"),
    ("db_prepared_statements", "false", False),
    ("db_prepared_statements", "true", True),
    ("cursor_secret", SECRET, SecretBytes(SECRET.encode())),
    ("api_key_peppers", f"1:{SECRET}", {1: SecretBytes(SECRET.encode())}),
    (
        "api_key_peppers",
        f"12:{OTHER},9999:{SECRET}",
        {12: SecretBytes(OTHER.encode()), 9999: SecretBytes(SECRET.encode())},
    ),
    ("api_key_peppers", "1:" + "ß" * 32, {1: SecretBytes(("ß" * 32).encode())}),
    ("api_key_peppers", "1:" + "\udcff" * 32, {1: SecretBytes(b"\xff" * 32)}),
    ("cors_origins", "*", frozenset({"*"})),
    ("cors_origins", "https://app.example.org", frozenset({"https://app.example.org"})),
    (
        "cors_origins",
        "http://localhost:3000,http://[::1]:65535,chrome-extension://abc",
        frozenset({"http://localhost:3000", "http://[::1]:65535", "chrome-extension://abc"}),
    ),
    ("rate_limit", "none", None),
    ("rate_limit", "6000/minute", "6000/minute"),
    ("rate_limit_store", "redis://user:secret@store.example:6379/0", "redis://user:secret@store.example:6379/0"),
    ("state_directory", "/var/lib/hexa post", Path("/var/lib/hexa post")),
]
WRONG_ORIGINS = (
    "a.example|//a.example|null|https:///|https://a.b/|https://a.b/path|https://a.b?x|https://a.b#x|https://u@a.b|"
    " https://a.b|https://a.b |https://a.b\t|https://a.b, https://c.d|https://a.b,|,https://a.b|https://a.b;https://c.d|"
    "https://a.b,*|*,*|https://*.a.b|https://A.b|HTTPS://a.b|https://faß.de|"
    "https://a.b:443|http://a.b:80|https://a.b:0|https://a.b:65536|https://a.b:"
)
ORIGIN_FORM = (
    "look like https://app.example.org or http://localhost:3000, in lower case and without path, slash at the end, "
    "space and default port. To allow all origins, set only *"
)
INVALID = [
    *((field, text) for field, below, _, _, above in RANGES for text in (below, above)),
    ("database_url", URL.replace("postgresql+asyncpg", "mysql")),
    ("database_url", "sqlite:///s3cret"),
    ("database_url", URL.replace("asyncpg", "psycopg2")),
    ("database_url", URL.replace("asyncpg", "pg8000")),
    ("database_url", URL.replace("asyncpg", "nonsense")),
    ("database_url", URL.replace("postgresql+asyncpg", "postgresqlx")),
    ("database_url", URL.removesuffix("/posts")),
    ("database_url", URL.removesuffix("posts")),
    ("database_url", URL.replace("5433", "port")),
    ("database_url", "s3cret"),
    ("database_url", "://s3cret"),
    ("port", "http"),
    ("port", "80.5"),
    *(("root_path", path) for path in ("/", "prefix", "/prefix/", "//x", "/x//y", "/x/../y", "/.x", "/x y", "/x?y")),
    *(("root_path", path) for path in ("/x%20y", "/é", "https://a.b/x", "/x\t", "/api/v1", "/docs/x", "/livez")),
    ("root_path", "/" + "x" * 200),
    ("log_level", "loud"),
    ("log_level", "INFO "),
    ("log_format", "xml"),
    ("db_prepared_statements", "perhaps"),
    ("cursor_secret", SECRET[1:]),
    ("api_key_peppers", SECRET),
    ("api_key_peppers", f":{SECRET}"),
    ("api_key_peppers", f"0:{SECRET}"),
    ("api_key_peppers", f"-1:{SECRET}"),
    ("api_key_peppers", f"01:{SECRET}"),
    ("api_key_peppers", f"10000:{SECRET}"),
    ("api_key_peppers", f"\u0661:{SECRET}"),
    ("api_key_peppers", f"1:{SECRET[1:]}"),
    ("api_key_peppers", f"2:{SECRET},1:{SECRET[1:]}"),
    ("api_key_peppers", f"1:{SECRET},1:{OTHER}"),
    ("api_key_peppers", f"1:{SECRET},"),
    ("api_key_peppers", f"1:{SECRET}, 2:{OTHER}"),
    *(("cors_origins", origins) for origins in WRONG_ORIGINS.split("|")),
    ("rate_limit", "0/hour"),
    ("rate_limit", "1000"),
    ("rate_limit", "10/minute;1/second"),
    ("rate_limit", "10/fortnight"),
    ("rate_limit_store", "mysql://user:secret@store.example/0"),
    ("rate_limit_store", "postgresql://store.example"),
]


class Load(Protocol):
    def __call__(self, environment: Mapping[str, str], **arguments: str) -> Settings: ...


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """A function that loads the settings of an environment, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("HEXAPOST_", "DATABASE_URL")):
            monkeypatch.delenv(name)

    def run(environment: Mapping[str, str], **arguments: str) -> Settings:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return load_settings(**arguments)

    return run


def problems_of(load: Load, environment: dict[str, str]) -> list[str]:
    """Return the problems of an invalid environment."""
    with pytest.raises(SettingsError) as raised:
        load(environment)
    assert str(raised.value).splitlines() == raised.value.errors
    assert raised.value.__cause__ is None
    return raised.value.errors


def test_settings_have_defaults_and_ignore_other_variables(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=10\nhexapost_host=x\n")
    settings = load({"PATH": "/bin", "PORT": "9", "hexapost_port": "x", "DATABASE_URL": ""})
    assert dict(settings) == dict(Settings())
    assert (settings.database_url, settings.host, settings.port) == (None, "127.0.0.1", 8000)
    assert (settings.db_pool_size, settings.db_prepared_statements, settings.cursor_secret) == (10, True, None)
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(("field", "text", "value"), VALID)
def test_valid_setting_is_converted(load: Load, field: str, text: str, value: object) -> None:
    settings = load({variable(field): text})
    assert getattr(settings, field) == value
    assert type(getattr(settings, field)) is type(value)


def test_samples_cover_every_setting() -> None:
    assert {field for field, *_ in VALID} | {"secrets_directory"} == set(Settings.model_fields)
    assert {field for field, *_ in INVALID} | {"host", "state_directory", "secrets_directory"} == set(
        Settings.model_fields
    )


@pytest.mark.parametrize(("field", "text"), INVALID)
def test_invalid_setting_raises_without_its_value(load: Load, field: str, text: str) -> None:
    name = variable(field)
    (problem,) = problems_of(load, {name: text})
    assert problem.startswith(f"{name}: ")
    assert len(problem) > len(name) + 10
    assert len(text) < 4 or text not in problem
    assert SECRET[1:] not in problem
    assert OTHER not in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("HEXAPOST_DATABASE_URL", URL, "unknown setting. Did you mean DATABASE_URL?"),
        ("HEXAPOST_PROT", "8000", "unknown setting. Did you mean HEXAPOST_PORT?"),
        ("HEXAPOST_port", "1", "unknown setting. Names of settings are in capitals"),
        ("HEXAPOST_API_KEY_PEPPERS", SECRET, "must look like 2:<secret>,1:<secret>, with versions of 1 to 9999"),
        (
            "HEXAPOST_API_KEY_PEPPERS",
            f"2:{SECRET},1:short",
            "the secret of version 1 must be at least 32 characters long",
        ),
        ("HEXAPOST_API_KEY_PEPPERS", f"3:{SECRET},3:{SECRET}", "version 3 must appear only once"),
        (
            "HEXAPOST_CORS_ORIGINS",
            "https://a.example,https://b.example/",
            f"entry 2 must {ORIGIN_FORM}",
        ),
    ],
)
def test_invalid_setting_has_a_specific_message(load: Load, name: str, text: str, problem: str) -> None:
    assert problems_of(load, {name: text}) == [f"{name}: {problem}"]


SOURCES = ["argument", "environment", ".env", "_FILE", "secrets directory"]


@pytest.mark.parametrize("first", SOURCES)
def test_setting_comes_from_first_source(load: Load, tmp_path: Path, first: str) -> None:
    given = SOURCES[SOURCES.index(first) :]
    if first in {"environment", ".env"}:
        given.remove("_FILE")  # an error together with these
    values = {source: str(number) for number, source in enumerate(SOURCES, 1)}
    environment = {"HEXAPOST_SECRETS_DIRECTORY": str(tmp_path / "secrets")}
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "HEXAPOST_PORT").write_text(values["secrets directory"])
    if "environment" in given:
        environment["HEXAPOST_PORT"] = values["environment"]
    if ".env" in given:
        (tmp_path / ".env").write_text(f"HEXAPOST_PORT={values['.env']}\n")
    if "_FILE" in given:
        (tmp_path / "port").write_text(values["_FILE"])
        environment["HEXAPOST_PORT_FILE"] = "port"
    arguments = {"port": values["argument"]} if first == "argument" else {}
    assert load(environment, **arguments).port == int(values[first])


def test_every_setting_can_come_from_a_file(load: Load, tmp_path: Path) -> None:
    samples = {field: (text, value) for field, text, value in VALID if "\udcff" not in text}
    for field, (text, _) in samples.items():
        (tmp_path / field).write_text(f"{text}\n")
    (tmp_path / ".env").write_text("".join(f"{variable(field)}_FILE={field}\n" for field in samples))
    settings = load({})
    assert {field: getattr(settings, field) for field in samples} == {
        field: value for field, (_, value) in samples.items()
    }


@pytest.mark.parametrize("content", [f"{SECRET}\n", SECRET, f" {SECRET}\r\n\n"])
def test_setting_file_loses_only_one_newline(load: Load, tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    settings = load({"HEXAPOST_CURSOR_SECRET_FILE": str(tmp_path / "secret")})
    assert settings.cursor_secret == SecretBytes(content.removesuffix("\n").encode())


def test_secrets_directory_ignores_other_files(load: Load, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "..data").mkdir(parents=True)
    (tmp_path / "secrets" / "README").touch()
    (tmp_path / "secrets" / "DATABASE_URL").write_text(URL)
    (tmp_path / ".env").write_text("HEXAPOST_SECRETS_DIRECTORY=secrets\n")
    assert load({}).database_url == make_url(URL)


def test_invalid_names_and_files_are_reported_together(load: Load, tmp_path: Path) -> None:
    (tmp_path / "secrets" / "HEXAPOST_PORT").mkdir(parents=True)
    for name in ("HEXAPOST_HSOT", "HEXAPOST_WORKERS_FILE"):
        (tmp_path / "secrets" / name).touch()
    (tmp_path / "secret").write_text("h1dden")
    (tmp_path / ".env").write_text("HEXAPOST_LOG_LEVLE=h1dden\nHEXAPOST_RATE_LIMIT_FILE=h1dden\nDATABASE_URL=h1dden\n")
    environment = {
        "DATABASE_URL_FILE": "h1dden",
        "HEXAPOST_CURSOR_SECRET_FILE": "secret",
        "HEXAPOST_SECRETS_DIRECTORY": "secrets",
        "HEXAPOST_SECRETS_DIRECTORY_FILE": "h1dden",
    }
    assert sorted(problems_of(load, environment)) == [
        "DATABASE_URL: must not be set together with DATABASE_URL_FILE",
        "HEXAPOST_CURSOR_SECRET: must be at least 32 bytes long",
        "HEXAPOST_HSOT: unknown setting. Did you mean HEXAPOST_HOST?",
        "HEXAPOST_LOG_LEVLE: unknown setting. Did you mean HEXAPOST_LOG_LEVEL?",
        "HEXAPOST_PORT: its file in HEXAPOST_SECRETS_DIRECTORY cannot be read: is a directory",
        "HEXAPOST_RATE_LIMIT: its file in HEXAPOST_RATE_LIMIT_FILE cannot be read: no such file or directory",
        "HEXAPOST_SECRETS_DIRECTORY_FILE: unknown setting. Did you mean HEXAPOST_SECRETS_DIRECTORY?",
        "HEXAPOST_WORKERS_FILE: unknown setting. Did you mean HEXAPOST_WORKERS?",
    ]


def test_missing_secrets_directory_is_an_error(load: Load) -> None:
    problem = "HEXAPOST_SECRETS_DIRECTORY: cannot be read: no such file or directory"
    assert problems_of(load, {"HEXAPOST_SECRETS_DIRECTORY": "h1dden"}) == [problem]


def test_unreadable_dotenv_file_is_one_error(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"HEXAPOST_PORT=\xff\n")
    assert problems_of(load, {"HEXAPOST_PROT": "1"}) == [".env: cannot be read: invalid text"]


def test_empty_variable_counts_as_unset(load: Load, tmp_path: Path) -> None:
    names = [variable(field) for field in Settings.model_fields]
    empty = dict.fromkeys([*names, *(f"{name}_FILE" for name in names), "HEXAPOST_UNKNOWN"], "")
    assert dict(load(empty)) == DEFAULTS
    (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in empty))
    assert dict(load({})) == DEFAULTS
    (tmp_path / "url").write_text(URL)
    assert load({"DATABASE_URL": "", "DATABASE_URL_FILE": "url"}).database_url == make_url(URL)


def test_empty_variable_hides_the_same_one_in_dotenv(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL={URL}\nHEXAPOST_PORT_FILE=h1dden\n")
    assert dict(load({"DATABASE_URL": "", "HEXAPOST_PORT_FILE": ""})) == DEFAULTS


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_variable_loses_newline_at_its_end(load: Load, newline: str) -> None:
    settings = load(
        {"DATABASE_URL": URL + newline, "HEXAPOST_CURSOR_SECRET": SECRET + newline, "HEXAPOST_HOST": newline}
    )
    assert dict(settings) == DEFAULTS | {"database_url": make_url(URL), "cursor_secret": SecretBytes(SECRET.encode())}


def test_kubernetes_service_links_are_ignored(load: Load) -> None:
    links = {"HEXAPOST_PORT_80_UDP_PROTO": "udp"}
    for service in ("HEXAPOST", "HEXAPOST_WEB_2"):
        links |= {
            f"{service}_SERVICE_HOST": "10.0.0.1",
            f"{service}_SERVICE_PORT": "80",
            f"{service}_SERVICE_PORT_HTTP": "80",
            f"{service}_PORT": "tcp://10.0.0.1:80",
            f"{service}_PORT_80_TCP": "tcp://10.0.0.1:80",
            f"{service}_PORT_80_TCP_PROTO": "tcp",
            f"{service}_PORT_80_TCP_PORT": "80",
            f"{service}_PORT_80_TCP_ADDR": "10.0.0.1",
        }
    assert dict(load(links)) == DEFAULTS


@pytest.mark.parametrize(
    "name", ["HEXAPOST_WEB_PORT", "HEXAPOST_PORT_80", "HEXAPOST_SERVICE", "HEXAPOST_WEB_PORT_80_TCP_X"]
)
def test_other_unknown_variables_are_errors(load: Load, name: str) -> None:
    (problem,) = problems_of(load, {name: "80"})
    assert problem.startswith(f"{name}: unknown setting.")


def test_settings_are_immutable_and_hide_secrets(load: Load) -> None:
    peppers = f"2:{SECRET},1:{OTHER}"
    settings = load({"DATABASE_URL": URL, "HEXAPOST_CURSOR_SECRET": SECRET, "HEXAPOST_API_KEY_PEPPERS": peppers})
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    for text in (repr(settings), str(settings), settings.model_dump_json(exclude={"database_url"})):
        assert "s3cret" not in text
        assert SECRET not in text
        assert OTHER not in text
    assert dict(Settings.model_validate(dict(settings))) == dict(settings)


def test_database_url_accepts_socket_directory() -> None:
    url = parse_database_url("postgresql://ada:p%40ss%25@/posts?host=%2Ftmp%2Fa+b%2550&port=5433")
    assert (url.password, url.host, dict(url.query)) == ("p@ss%", None, {"host": "/tmp/a b%50", "port": "5433"})  # noqa: S108 - a sample


@pytest.mark.usefixtures("load")
def test_database_url_function_returns_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    assert database_url() == URL
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SettingsError, match=r"^DATABASE_URL is not set\."):
        database_url()


def test_setting_defaults_equal_defaults_of_the_code() -> None:
    settings = Settings()
    container = Container(settings=settings)
    assert container.database_options() == DatabaseOptions()
    assert container.request_limits() == RequestLimits()
    assert container.header_limits() == HeaderLimits()
    assert settings.max_concurrent_requests == MAX_CONCURRENT_REQUESTS
    assert settings.db_retry_deadline_seconds == RetryPolicy().max_elapsed
    assert settings.write_timeout_seconds == WRITE_TIMEOUT_SECONDS
    assert timedelta(hours=settings.idempotency_retention_hours) == DEFAULT_IDEMPOTENCY_RETENTION


def test_each_limit_setting_reaches_its_option() -> None:
    settings = Settings(
        max_headers=11, max_header_bytes=1025, header_timeout_seconds=1, max_body_bytes=1026, max_json_depth=2,
        body_timeout_seconds=3, request_timeout_seconds=4, db_pool_size=5, db_pool_timeout_seconds=6,
        db_connect_timeout_seconds=7, db_attempt_timeout_seconds=8, db_statement_timeout_seconds=9,
        db_idle_in_transaction_timeout_seconds=10, db_prepared_statements=False,
        db_connection_max_lifetime_seconds=12, db_connection_max_idle_seconds=13,
    )  # fmt: skip
    container = Container(settings=settings)
    assert container.header_limits() == HeaderLimits(max_headers=11, max_header_bytes=1025, timeout=1)
    assert container.request_limits() == RequestLimits(
        max_body_bytes=1026, max_json_depth=2, body_timeout=3, request_timeout=4
    )
    assert container.database_options() == DatabaseOptions(
        pool_size=5, pool_timeout=6, connect_timeout=7, attempt_timeout=8, statement_timeout=9,
        idle_in_transaction_timeout=10, prepared_statements=False, max_lifetime=12, max_idle=13,
    )  # fmt: skip
