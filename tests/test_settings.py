"""Every setting: what is taken, what is refused, and what is said then."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretBytes, ValidationError

from adapters.container import database_options, head_limits, request_limits
from adapters.http.context import KEPT
from adapters.http.middleware.admission import MAX_CONCURRENT_REQUESTS
from adapters.http.middleware.http_protocol import WRITE_TIMEOUT_SECONDS
from adapters.http.middleware.limits import HeaderLimits, RequestLimits
from adapters.postgres.database import DatabaseOptions
from adapters.settings import Settings, SettingsError, load_settings, variable
from application.transactions import Retry

URL = "postgresql+asyncpg://ada:s3cret@db.example.org:5433/posts"
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a sample

OTHER = "fedcba9876543210 fedcba:9876543210"

VALID: list[tuple[str, str, Any]] = [
    ("host", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - a sample
    ("port", "0", 0),
    ("port", "65535", 65535),
    ("log_level", "debug", "debug"),
    ("log_level", "error", "error"),
    ("log_format", "json", "json"),
    ("log_format", "console", "console"),
    ("max_body_bytes", "1024", 1024),
    ("max_body_bytes", "16777216", 16_777_216),
    ("max_json_depth", "1", 1),
    ("max_json_depth", "256", 256),
    ("max_headers", "10", 10),
    ("max_headers", "10000", 10_000),
    ("max_header_bytes", "1024", 1024),
    ("max_header_bytes", "1048576", 1_048_576),
    ("head_timeout_seconds", "0.5", 0.5),
    ("body_timeout_seconds", "600", 600.0),
    ("request_timeout_seconds", "600", 600.0),
    ("send_timeout_seconds", "600", 600.0),
    ("statement_timeout_seconds", "0.001", 0.001),
    ("idle_in_transaction_timeout_seconds", "600", 600.0),
    ("max_requests_in_work", "1", 1),
    ("max_requests_in_work", "100000", 100_000),
    ("workers", "1", 1),
    ("workers", "256", 256),
    ("attempt_timeout_seconds", "0.05", 0.05),
    ("pool_size", "1", 1),
    ("pool_size", "1000", 1000),
    ("pool_timeout_seconds", "0.5", 0.5),
    ("pool_timeout_seconds", "60", 60.0),
    ("connect_timeout_seconds", "0.1", 0.1),
    ("prepared_statements", "false", False),
    ("prepared_statements", "true", True),
    ("retry_deadline_seconds", "0", 0.0),
    ("retry_deadline_seconds", "60", 60.0),
    ("cursor_secret", SECRET, SecretBytes(SECRET.encode())),
    ("key_peppers", f"1:{SECRET}", {1: SecretBytes(SECRET.encode())}),
    (
        "key_peppers",
        f"12:{OTHER},9999:{SECRET}",
        {12: SecretBytes(OTHER.encode()), 9999: SecretBytes(SECRET.encode())},
    ),
    ("key_peppers", "1:" + "ß" * 32, {1: SecretBytes(("ß" * 32).encode())}),
    ("key_cache_seconds", "0", 0.0),
    ("key_cache_seconds", "300", 300.0),
    ("idempotency_hours", "0.01", 0.01),
    ("idempotency_hours", "720", 720.0),
    ("purge_interval_seconds", "1", 1.0),
    ("purge_interval_seconds", "86400", 86_400.0),
    ("rate_limit", "none", None),
    ("rate_limit", "6000/minute", "6000/minute"),
    ("rate_limit_store", "redis://user:secret@store.example:6379/0", "redis://user:secret@store.example:6379/0"),
    ("state_directory", "/var/lib/hexa post", Path("/var/lib/hexa post")),
]
INVALID = [
    ("host", ""),
    ("port", "-1"),
    ("port", "65536"),
    ("port", "http"),
    ("port", "80.5"),
    ("log_level", "loud"),
    ("log_level", "INFO "),
    ("log_format", "xml"),
    ("max_body_bytes", "1023"),
    ("max_body_bytes", "16777217"),
    ("max_json_depth", "0"),
    ("max_json_depth", "257"),
    ("max_headers", "9"),
    ("max_headers", "10001"),
    ("max_header_bytes", "1023"),
    ("max_header_bytes", "1048577"),
    ("head_timeout_seconds", "0"),
    ("body_timeout_seconds", "601"),
    ("request_timeout_seconds", "nan"),
    ("send_timeout_seconds", "0"),
    ("send_timeout_seconds", "601"),
    ("statement_timeout_seconds", "0"),
    ("statement_timeout_seconds", "601"),
    ("idle_in_transaction_timeout_seconds", "0"),
    ("max_requests_in_work", "0"),
    ("workers", "0"),
    ("workers", "257"),
    ("attempt_timeout_seconds", "0"),
    ("pool_size", "0"),
    ("pool_size", "1001"),
    ("pool_timeout_seconds", "0"),
    ("pool_timeout_seconds", "60.1"),
    ("pool_timeout_seconds", "nan"),
    ("connect_timeout_seconds", "-1"),
    ("connect_timeout_seconds", "inf"),
    ("prepared_statements", "perhaps"),
    ("retry_deadline_seconds", "-0.1"),
    ("retry_deadline_seconds", "nan"),
    ("cursor_secret", SECRET[1:]),
    ("key_peppers", ""),
    ("key_peppers", SECRET),
    ("key_peppers", f":{SECRET}"),
    ("key_peppers", f"0:{SECRET}"),
    ("key_peppers", f"-1:{SECRET}"),
    ("key_peppers", f"01:{SECRET}"),
    ("key_peppers", f"10000:{SECRET}"),
    ("key_peppers", f"\u0661:{SECRET}"),
    ("key_peppers", f"1:{SECRET[1:]}"),
    ("key_peppers", f"2:{SECRET},1:{SECRET[1:]}"),
    ("key_peppers", f"1:{SECRET},1:{OTHER}"),
    ("key_peppers", f"1:{SECRET},"),
    ("key_peppers", f"1:{SECRET}, 2:{OTHER}"),
    ("key_cache_seconds", "-0.1"),
    ("key_cache_seconds", "300.1"),
    ("key_cache_seconds", "nan"),
    ("idempotency_hours", "0"),
    ("idempotency_hours", "720.1"),
    ("purge_interval_seconds", "0.9"),
    ("purge_interval_seconds", "86401"),
    ("purge_interval_seconds", "inf"),
    ("rate_limit", ""),
    ("rate_limit", "0/hour"),
    ("rate_limit", "1000"),
    ("rate_limit", "10/minute;1/second"),
    ("rate_limit", "10/fortnight"),
    ("rate_limit_store", "mysql://user:secret@store.example/0"),
    ("rate_limit_store", "postgresql://store.example"),
]


def test_the_defaults_need_no_environment() -> None:
    settings = load_settings({"PATH": "/bin", "PORT": "9", "hexapost_port": "x"})
    assert settings == Settings()
    assert (settings.database_url, settings.host, settings.port) == (None, "127.0.0.1", 8000)
    assert (settings.pool_size, settings.prepared_statements, settings.cursor_secret) == (10, True, None)


@pytest.mark.parametrize(("field", "text", "value"), VALID)
def test_a_valid_setting_is_taken(field: str, text: str, value: object) -> None:
    settings = load_settings({variable(field): text})
    assert getattr(settings, field) == value
    assert type(getattr(settings, field)) is type(value)


def test_every_setting_is_tried() -> None:
    assert {field for field, *_ in VALID} | {"database_url"} == set(Settings.model_fields)
    assert {field for field, *_ in INVALID} | {"database_url", "state_directory"} == set(Settings.model_fields)


@pytest.mark.parametrize(("field", "text"), INVALID)
def test_an_invalid_setting_is_named_and_its_value_is_not_shown(field: str, text: str) -> None:
    name = "HEXAPOST_" + field.upper()
    with pytest.raises(SettingsError) as raised:
        load_settings({name: text})
    (problem,) = raised.value.problems
    assert problem.startswith(f"{name}: ")
    assert len(problem) > len(name) + 10
    assert len(text) < 4 or text not in problem
    assert SECRET[1:] not in problem
    assert OTHER not in problem


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(
            {
                "DATABASE_URL": "mysql://x",
                "HEXAPOST_PORT": "x",
                "HEXAPOST_POOL_SIZE": "0",
                "HEXAPOST_COLOUR": "red",
                "HEXAPOST_DATABASE_URL": URL,
            }
        )
    names = sorted(problem.split(":")[0] for problem in raised.value.problems)
    assert names == ["DATABASE_URL", "HEXAPOST_COLOUR", "HEXAPOST_DATABASE_URL", "HEXAPOST_POOL_SIZE", "HEXAPOST_PORT"]
    assert str(raised.value).splitlines() == raised.value.problems
    assert "s3cret" not in str(raised.value)
    assert "red" not in str(raised.value)


def test_a_setting_that_there_is_not_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^HEXAPOST_PROT: there is no such setting$"):
        load_settings({"HEXAPOST_PROT": "8000"})


def test_settings_are_immutable_and_keep_their_secrets() -> None:
    settings = load_settings({"DATABASE_URL": URL, "HEXAPOST_CURSOR_SECRET": SECRET})
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    assert "s3cret" not in repr(settings)
    assert SECRET not in repr(settings)


def test_peppers_are_not_shown_and_can_be_read_again() -> None:
    settings = load_settings({"HEXAPOST_KEY_PEPPERS": f"2:{SECRET},1:{OTHER}"})
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert SECRET not in shown
        assert OTHER not in shown
    assert Settings.model_validate(dict(settings)) == settings


@pytest.mark.parametrize(
    ("peppers", "said"),
    [
        (SECRET, "must look like 2:<secret>,1:<secret>, with versions of 1 to 9999"),
        (f"2:{SECRET},1:short", "the secret of version 1 must be at least 32 characters long"),
        (f"3:{SECRET},3:{SECRET}", "version 3 must be there only once"),
    ],
)
def test_it_is_said_what_is_wrong_with_peppers(peppers: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"HEXAPOST_KEY_PEPPERS": peppers})
    assert raised.value.problems == [f"HEXAPOST_KEY_PEPPERS: {said}"]


def test_a_pepper_that_is_no_text_is_taken_as_it_is() -> None:
    peppers = load_settings({"HEXAPOST_KEY_PEPPERS": "1:" + "\udcff" * 32}).key_peppers
    assert peppers is not None
    assert peppers[1].get_secret_value() == b"\xff" * 32


def test_each_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_settings_are_written_in_capitals() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"HEXAPOST_port": "1", "HEXAPOST_PORT": "2"})
    assert raised.value.problems == ["HEXAPOST_port: settings are written in capitals"]


def test_what_nobody_chooses_is_the_same_everywhere() -> None:
    settings = Settings()
    assert database_options(settings) == DatabaseOptions()
    assert request_limits(settings) == RequestLimits()
    assert head_limits(settings) == HeaderLimits()
    assert settings.max_requests_in_work == MAX_CONCURRENT_REQUESTS
    assert settings.retry_deadline_seconds == Retry().deadline
    assert settings.send_timeout_seconds == WRITE_TIMEOUT_SECONDS
    assert timedelta(hours=settings.idempotency_hours) == KEPT
