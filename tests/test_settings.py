"""Tests for the settings."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretBytes, ValidationError
from sqlalchemy import make_url

from adapters.container import Container
from adapters.http.dependencies import DEFAULT_IDEMPOTENCY_RETENTION
from adapters.http.middleware.http_protocol import WRITE_TIMEOUT_SECONDS
from adapters.http.middleware.request_limits import MAX_CONCURRENT_REQUESTS, HeaderLimits, RequestLimits
from adapters.postgres.pool import DatabaseOptions
from adapters.settings import Settings, SettingsError, database_url, load_settings, variable
from application.transactions import RetryPolicy

URL = "postgresql+asyncpg://ada:s3cret@db.example.org:5433/posts"
PSYCOPG_URL = URL.replace("asyncpg", "psycopg")
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a sample
OTHER = "fedcba9876543210 fedcba:9876543210"

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
    ("write_timeout_seconds", "0", "0.5", "600", "601"),
    ("max_concurrent_requests", "0", "1", "100000", "100001"),
    ("workers", "0", "1", "256", "257"),
    ("db_pool_size", "0", "1", "1000", "1001"),
    ("db_pool_timeout_seconds", "0", "0.5", "60", "60.1"),
    ("db_connect_timeout_seconds", "-1", "0.1", "60", "inf"),
    ("db_attempt_timeout_seconds", "0", "0.05", "600", "601"),
    ("db_statement_timeout_seconds", "0", "0.001", "600", "601"),
    ("db_idle_in_transaction_timeout_seconds", "0", "0.001", "600", "601"),
    ("db_retry_deadline_seconds", "-0.1", "0", "60", "nan"),
    ("api_key_cache_seconds", "-0.1", "0", "300", "300.1"),
    ("idempotency_retention_hours", "0", "0.01", "720", "720.1"),
    ("purge_interval_seconds", "0.9", "1", "86400", "inf"),
]
VALID: list[tuple[str, str, Any]] = [
    *(
        (field, text, type(Settings.model_fields[field].default)(text))
        for field, _, minimum, maximum, _ in RANGES
        for text in (minimum, maximum)
    ),
    ("database_url", URL, make_url(URL)),
    ("database_url", URL.replace("+asyncpg", ""), make_url(URL)),
    ("database_url", URL.replace("ql+asyncpg", ""), make_url(URL)),
    ("database_url", PSYCOPG_URL, make_url(PSYCOPG_URL)),
    ("database_url", f"{URL}?sslmode=require&a=x", make_url(f"{URL}?a=x&ssl=require")),
    ("database_url", f"{PSYCOPG_URL}?sslmode=require", make_url(f"{PSYCOPG_URL}?sslmode=require")),
    ("host", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - a sample
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
    ("rate_limit", "none", None),
    ("rate_limit", "6000/minute", "6000/minute"),
    ("rate_limit_store", "redis://user:secret@store.example:6379/0", "redis://user:secret@store.example:6379/0"),
    ("state_directory", "/var/lib/hexa post", Path("/var/lib/hexa post")),
]
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
    ("host", ""),
    ("port", "http"),
    ("port", "80.5"),
    ("log_level", "loud"),
    ("log_level", "INFO "),
    ("log_format", "xml"),
    ("db_prepared_statements", "perhaps"),
    ("cursor_secret", SECRET[1:]),
    ("api_key_peppers", ""),
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
    ("rate_limit", ""),
    ("rate_limit", "0/hour"),
    ("rate_limit", "1000"),
    ("rate_limit", "10/minute;1/second"),
    ("rate_limit", "10/fortnight"),
    ("rate_limit_store", "mysql://user:secret@store.example/0"),
    ("rate_limit_store", "postgresql://store.example"),
]


def problems_of(environment: dict[str, str]) -> list[str]:
    """Return the problems of an invalid environment."""
    with pytest.raises(SettingsError) as raised:
        load_settings(environment)
    assert str(raised.value).splitlines() == raised.value.errors
    assert raised.value.__cause__ is None
    return raised.value.errors


def test_settings_have_defaults_and_ignore_other_variables() -> None:
    settings = load_settings({"PATH": "/bin", "PORT": "9", "hexapost_port": "x", "DATABASE_URL": ""})
    assert settings == Settings()
    assert (settings.database_url, settings.host, settings.port) == (None, "127.0.0.1", 8000)
    assert (settings.db_pool_size, settings.db_prepared_statements, settings.cursor_secret) == (10, True, None)
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(("field", "text", "value"), VALID)
def test_valid_setting_is_converted(field: str, text: str, value: object) -> None:
    settings = load_settings({variable(field): text})
    assert getattr(settings, field) == value
    assert type(getattr(settings, field)) is type(value)


def test_samples_cover_every_setting() -> None:
    assert {field for field, *_ in VALID} == set(Settings.model_fields)
    assert {field for field, *_ in INVALID} | {"state_directory"} == set(Settings.model_fields)


@pytest.mark.parametrize(("field", "text"), INVALID)
def test_invalid_setting_raises_without_its_value(field: str, text: str) -> None:
    name = variable(field)
    (problem,) = problems_of({name: text})
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
    ],
)
def test_invalid_setting_has_a_specific_message(name: str, text: str, problem: str) -> None:
    assert problems_of({name: text}) == [f"{name}: {problem}"]


def test_settings_are_immutable_and_hide_secrets() -> None:
    peppers = f"2:{SECRET},1:{OTHER}"
    settings = load_settings(
        {"DATABASE_URL": URL, "HEXAPOST_CURSOR_SECRET": SECRET, "HEXAPOST_API_KEY_PEPPERS": peppers}
    )
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    for text in (repr(settings), str(settings), settings.model_dump_json(exclude={"database_url"})):
        assert "s3cret" not in text
        assert SECRET not in text
        assert OTHER not in text
    assert Settings.model_validate(dict(settings)) == settings


def test_database_url_accepts_socket_directory() -> None:
    url = load_settings(
        {"DATABASE_URL": "postgresql://ada:p%40ss%25@/posts?host=%2Ftmp%2Fa+b%2550&port=5433"}
    ).database_url
    assert url is not None
    assert (url.password, url.host, dict(url.query)) == ("p@ss%", None, {"host": "/tmp/a b%50", "port": "5433"})  # noqa: S108 - a sample


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
    )  # fmt: skip
    container = Container(settings=settings)
    assert container.header_limits() == HeaderLimits(max_headers=11, max_header_bytes=1025, timeout=1)
    assert container.request_limits() == RequestLimits(
        max_body_bytes=1026, max_json_depth=2, body_timeout=3, request_timeout=4
    )
    assert container.database_options() == DatabaseOptions(
        pool_size=5, pool_timeout=6, connect_timeout=7, attempt_timeout=8, statement_timeout=9,
        idle_in_transaction_timeout=10, prepared_statements=False,
    )  # fmt: skip
