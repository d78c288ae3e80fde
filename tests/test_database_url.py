"""Tests for the URL of the database and its parameters."""

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from adapters.database_url import DRIVERS, Host, hosts_of, options_of, parse_database_url

URL = "postgresql+{driver}://ada:s3cret@db.example.org:5433/posts"
LISTS = {
    "postgresql://ada@a:1,b:2/posts": [Host("a", 1), Host("b", 2)],
    "postgresql://ada:p,w%40@a,b:2/posts?sslmode=require": [Host("a", None), Host("b", 2)],
    "postgresql://a,b/posts?port=1": [Host("a", 1), Host("b", 1)],
    "postgresql://a,b/posts?port=1,2": [Host("a", 1), Host("b", 2)],
    "postgresql:///posts?host=a:1&host=b:2": [Host("a", 1), Host("b", 2)],
    "postgresql:///posts?host=a,b&port=1,2": [Host("a", 1), Host("b", 2)],
    "postgresql:///posts?host=/run/x:y&port=1": [Host("/run/x:y", 1)],
    "postgresql:///posts?host=[::1]:1&host=::2": [Host("::1", 1), Host("::2", None)],
    "postgresql://[::1]:1,[::2]/posts": [Host("::1", 1), Host("::2", None)],
    "postgresql://[::1]:1/posts": [Host("::1", 1)],
    "postgresql://ada@%2Frun%2Fpostgresql:1/posts": [Host("/run/postgresql", 1)],
    "postgresql:///posts": [Host(None, None)],
}
REFUSED = {
    "sslmode=bogus": "sslmode: disable, allow",
    "sslmode=require&sslmode=disable": "sslmode only once",
    "user=s3cret&user=a": "user only once",
    "sslrootcert=/s3cret/missing.pem": "readable file in the parameter sslrootcert",
    "sslcert=/s3cret/missing.pem": "sslcert",
    "target_session_attrs=standby": "target_session_attrs: any, read-write, primary",
    "load_balance_hosts=s3cret": "load_balance_hosts: disable, random",
    "connect_timeout=10": "HEXAPOST_DB_CONNECT_TIMEOUT_SECONDS",
    "service=s3cret": "service",
    "s3cret=x": "only parameters of libpq",
    "options=s3cret": "options must look like",
    "options=-c%20x": "options must look like",
    "host=a,b,c&port=1,2": "as many ports as hosts",
    "port=99999": "ports of 1 to 65535",
    "host=a:0": "ports of 1 to 65535",
    "fallback_application_name=x": "application_name",
    "replication=database": "replication, which is not supported",
    "ssl_min_protocol_version=TLSv9": "ssl_min_protocol_version: TLSv1,",
    "sslnegotiation=direct": "sslmode=require",
    "sslnegotiation=direct&sslmode=prefer": "sslmode=require",
    "user=a%00s3cret": "%00",
}
PSYCOPG_ONLY = ["channel_binding=require", "keepalives_idle=10", "requirepeer=s3cret"]


@pytest.mark.parametrize(("text", "hosts"), LISTS.items())
def test_url_has_several_hosts_in_each_form(text: str, hosts: list[Host]) -> None:
    url = parse_database_url(text)
    assert (url.drivername, url.database, hosts_of(url)) == ("postgresql+asyncpg", "posts", hosts)
    assert parse_database_url(url.render_as_string(hide_password=False)) == url


def test_host_list_keeps_user_and_password() -> None:
    url = parse_database_url("postgresql://ada:p,w%40@a,b:2/posts?sslmode=require")
    assert (url.username, url.password, url.query["sslmode"]) == ("ada", "p,w@", "require")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(("query", "message"), REFUSED.items())
def test_url_refuses_parameter_by_name(driver: str, query: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|options)") as raised:
        parse_database_url(f"{URL.format(driver=driver)}?{query}")
    assert message in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_url_refuses_port_0() -> None:
    with pytest.raises(ValueError, match="ports of 1 to 65535"):
        parse_database_url("postgresql://ada@a:0/posts")


@pytest.mark.parametrize("password", ["x@s3cret", "x@s3cret/@y"])
def test_url_refuses_a_password_with_an_at_sign(password: str) -> None:
    with pytest.raises(ValueError, match="%40 in place of each @") as raised:
        parse_database_url(f"postgresql://ada:{password}@a/posts")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("driver", DRIVERS)
def test_url_knows_each_parameter_of_libpq(driver: str) -> None:
    for option in psycopg.pq.Conninfo.get_defaults():
        message = ""
        try:
            parse_database_url(f"{URL.format(driver=driver)}?{option.keyword.decode()}=x")
        except ValueError as error:
            message = str(error)
        assert "only parameters of libpq" not in message


@pytest.mark.parametrize("query", PSYCOPG_ONLY)
def test_url_refuses_parameter_of_other_driver(query: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{query.split('=', maxsplit=1)[0]}.*which only postgresql\+psycopg:// supports"
    ):
        parse_database_url(f"{URL.format(driver='asyncpg')}?{query}")
    parse_database_url(f"{URL.format(driver='psycopg')}?{query}")


def test_url_takes_identity_from_parameters() -> None:
    url = parse_database_url("postgresql://a?user=ada&password=s3cret&dbname=posts\n")
    assert (url.username, url.password, url.database, url.query) == ("ada", "s3cret", "posts", {})
    assert "s3cret" not in str(url)


@pytest.mark.parametrize("driver", DRIVERS)
def test_url_accepts_readable_files(driver: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    text = f"{URL.format(driver=driver)}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"
    assert parse_database_url(text) == make_url(text)


def test_options_have_server_settings() -> None:
    url = parse_database_url("postgresql:///x?options=-c%20search_path%3Da,%5C%20b%20%20--work_mem%3D1MB")
    assert options_of(url) == {"search_path": "a, b", "work_mem": "1MB"}


def test_host_text_has_port() -> None:
    hosts = [Host("db.example.org", None), Host("::1", 1), Host("/run", None), Host(None, None)]
    assert [str(host) for host in hosts] == ["db.example.org:5432", "[::1]:1", "/run:5432", "the default host:5432"]
