"""DATABASE_URL: which databases it can name, how, and what is said of the others."""

import pytest

from adapters.settings import Settings, SettingsError, database_url, load_settings

URL = "postgresql+asyncpg://ada:s3cret@db.example.org:5433/posts"


def test_the_database_has_one_name() -> None:
    with pytest.raises(SettingsError, match=r"^HEXAPOST_DATABASE_URL: the variable is called DATABASE_URL$"):
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
def test_the_url_says_which_driver(text: str, driver: str) -> None:
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
def test_another_url_is_refused_and_nothing_of_it_is_shown(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"DATABASE_URL": text})
    (problem,) = raised.value.problems
    assert problem.startswith("DATABASE_URL: must ")
    assert "s3cret" not in problem
    assert raised.value.__cause__ is None


def test_no_url_and_an_empty_one_are_the_same() -> None:
    assert load_settings({"DATABASE_URL": ""}).database_url is None


@pytest.mark.parametrize(("driver", "name"), [("asyncpg", "ssl"), ("psycopg", "sslmode")])
def test_each_driver_gets_the_mode_of_tls_under_its_own_name(driver: str, name: str) -> None:
    url = load_settings({"DATABASE_URL": f"postgresql+{driver}://db/posts?sslmode=require&application_name=x"})
    assert url.database_url is not None
    assert dict(url.database_url.query) == {name: "require", "application_name": "x"}


def test_a_socket_in_a_directory_of_any_name() -> None:
    text = "postgresql://ada:p%40ss%25@/posts?host=%2Ftmp%2Fa+b%2550%2Fsockets&port=5433"
    url = load_settings({"DATABASE_URL": text}).database_url
    assert url is not None
    assert (url.password, url.host, dict(url.query)) == ("p@ss%", None, {"host": "/tmp/a b%50/sockets", "port": "5433"})  # noqa: S108 - a sample


def test_tools_get_the_url_with_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    assert database_url() == URL
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: must be set$"):
        database_url()


def test_a_database_url_that_was_parsed_keeps_its_password() -> None:
    settings = load_settings({"DATABASE_URL": "postgresql+asyncpg://u:s3cret@h/d"})
    again = Settings.model_validate(dict(settings))
    assert again.database_url is not None
    assert again.database_url.password == "s3cret"  # noqa: S105 - a word of this test
