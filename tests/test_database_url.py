"""Tests for DATABASE_URL."""

import pytest

from adapters.settings import Settings, SettingsError, database_url, load_settings

URL = "postgresql+asyncpg://ada:s3cret@db.example.org:5433/posts"


def test_prefixed_database_url_raises() -> None:
    with pytest.raises(SettingsError, match=r"^HEXAPOST_DATABASE_URL: unknown setting\. Did you mean DATABASE_URL\?$"):
        load_settings({"HEXAPOST_DATABASE_URL": URL})


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (URL, "asyncpg"),
        (URL.replace("+asyncpg", ""), "asyncpg"),
        (URL.replace("ql+asyncpg", ""), "asyncpg"),
        (URL.replace("+asyncpg", "+psycopg"), "psycopg"),
    ],
)
def test_database_url_scheme_selects_driver(text: str, driver: str) -> None:
    url = load_settings({"DATABASE_URL": text}).database_url
    assert url is not None
    assert url.render_as_string(hide_password=False) == URL.replace("+asyncpg", f"+{driver}")


@pytest.mark.parametrize(
    "text",
    [
        "mysql://ada:s3cret@localhost/posts",
        "sqlite:///s3cret",
        "postgresql+psycopg2://ada:s3cret@localhost/posts",
        "postgresql+pg8000://ada:s3cret@localhost/posts",
        "postgresql+nonsense://ada:s3cret@localhost/posts",
        "postgresqlx://ada:s3cret@localhost/posts",
        "postgresql://ada:s3cret@localhost",
        "postgresql://ada:s3cret@localhost/",
        "postgresql://ada:s3cret@localhost:port/posts",
        "s3cret",
        "://s3cret",
    ],
)
def test_unsupported_database_url_raises_without_its_text(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"DATABASE_URL": text})
    (problem,) = raised.value.errors
    assert problem.startswith("DATABASE_URL: must ")
    assert "s3cret" not in problem
    assert raised.value.__cause__ is None


def test_empty_database_url_is_unset() -> None:
    assert load_settings({"DATABASE_URL": ""}).database_url is None


@pytest.mark.parametrize(("driver", "name"), [("asyncpg", "ssl"), ("psycopg", "sslmode")])
def test_sslmode_is_renamed_for_each_driver(driver: str, name: str) -> None:
    url = load_settings({"DATABASE_URL": f"postgresql+{driver}://db/posts?sslmode=require&application_name=x"})
    assert url.database_url is not None
    assert dict(url.database_url.query) == {name: "require", "application_name": "x"}


def test_database_url_accepts_socket_directory() -> None:
    text = "postgresql://ada:p%40ss%25@/posts?host=%2Ftmp%2Fa+b%2550%2Fsockets&port=5433"
    url = load_settings({"DATABASE_URL": text}).database_url
    assert url is not None
    assert (url.password, url.host, dict(url.query)) == ("p@ss%", None, {"host": "/tmp/a b%50/sockets", "port": "5433"})  # noqa: S108 - a sample


def test_database_url_function_returns_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    assert database_url() == URL
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SettingsError, match=r"^DATABASE_URL is not set\."):
        database_url()


def test_copied_settings_keep_database_password() -> None:
    settings = load_settings({"DATABASE_URL": "postgresql+asyncpg://u:s3cret@h/d"})
    again = Settings.model_validate(dict(settings))
    assert again.database_url is not None
    assert again.database_url.password == "s3cret"  # noqa: S105 - a sample
