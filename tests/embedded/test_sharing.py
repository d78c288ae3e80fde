"""One server for all users of a directory, from the first to the last of them."""

import asyncio
import importlib
import os
import signal
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
from sqlalchemy import make_url

from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.embedded.support import (
    all_gone,
    answers,
    ask,
    eventually,
    find_process,
    keeper_pid,
    quiet,
    server_pids,
    user_process,
)


def test_a_stopped_server_leaves_no_process_and_no_socket(directory: Path) -> None:
    with quiet(directory) as server:
        pids = server_pids(directory, server.url(driver=None))
        sockets = Path(server.host)
        assert sockets.is_dir()
    eventually(lambda: all_gone(pids), "the end of the server's processes")
    assert not sockets.exists()


def test_stop_returns_after_the_server_is_down(directory: Path) -> None:
    with quiet(directory) as server:
        pids = server_pids(directory, server.url(driver=None)) - {keeper_pid(directory)}
    assert all_gone(pids)
    assert not (directory / "data" / "postmaster.pid").exists()


def test_data_outlives_the_server(directory: Path) -> None:
    with quiet(directory) as server:
        ask(server.url(driver=None), "CREATE TABLE kept AS SELECT 7 AS number")
    with quiet(directory) as server:
        assert ask(server.url(driver=None), "SELECT number FROM kept") == 7


def test_a_missing_database_is_created_again(directory: Path) -> None:
    with quiet(directory) as server:
        ask(server.url("postgres", driver=None), "DROP DATABASE hexapost")
    with quiet(directory) as server:
        assert ask(server.url(driver=None), "SELECT current_database()") == "hexapost"


def test_one_object_can_be_started_again_but_not_twice(directory: Path) -> None:
    server = quiet(directory)
    for _ in range(2):
        server.start()
        with pytest.raises(EmbeddedPostgresError, match="already started"):
            server.start()
        assert answers(server.url(driver=None))
        server.stop()
        server.stop()


def test_a_new_cluster_is_reported_and_is_the_same_everywhere(tmp_path: Path) -> None:
    lines: list[str] = []
    with EmbeddedPostgres(tmp_path / "new", report=lines.append) as server:
        url = server.url(driver=None)
        assert ask(url, "SHOW server_encoding") == "UTF8"
        assert ask(url, "SHOW timezone") in {"Etc/UTC", "UTC"}
        assert ask(url, "SELECT 'a' COLLATE \"default\" > 'B' COLLATE \"default\"") is True
        assert ask(url, "SHOW fsync") == "on"
        assert ask(url, "SHOW listen_addresses") == ""
        assert int(ask(url, "SHOW max_connections")) >= 100
    assert lines[0] == f"creating the database cluster in {tmp_path.resolve() / 'new' / 'data'}"
    assert lines[1].startswith("PostgreSQL ")
    assert lines[1].endswith(" is ready")
    assert len(lines) == 2
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_urls_work_for_every_driver(directory: Path) -> None:
    with quiet(directory) as server:
        for driver in ("asyncpg", "psycopg"):
            url = make_url(server.url("other name", driver=driver))
            assert url.drivername == f"postgresql+{driver}"
            assert (url.username, url.database) == ("hexapost", "other name")
            assert url.query == {"host": server.host, "port": str(server.port)}
        assert unquote(server.url(driver=None)).startswith("postgresql://hexapost@/hexapost?host=/")
        assert ask(server.url(driver=None), "SELECT current_user") == server.user == "hexapost"


def test_asyncpg_connects(directory: Path) -> None:
    asyncpg = importlib.import_module("asyncpg")  # it has no types

    async def current_database(url: str) -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval("SELECT current_database()")
        finally:
            await connection.close()

    with quiet(directory) as server:
        assert asyncio.run(current_database(server.url(driver=None))) == "hexapost"


def test_settings_reach_the_server_and_those_of_the_first_user_stay(directory: Path) -> None:
    settings = {"max_connections": "300", "application_name": 'it\'s a "name" with spaces'}
    with EmbeddedPostgres(directory, report=lambda _: None, settings=settings) as first:
        assert ask(first.url(driver=None), "SHOW max_connections") == "300"
        assert ask(first.url(driver=None), "SHOW application_name") == settings["application_name"]
        lines: list[str] = []
        with EmbeddedPostgres(directory, report=lines.append) as second:
            assert ask(second.url(driver=None), "SHOW max_connections") == "300"
        assert "other settings" in lines[-1]


def test_two_starters_at_once_share_a_new_server_that_outlives_the_first(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    with user_process(directory) as first, user_process(directory) as second:
        url = first.read("url ")
        assert second.read("url ") == url
        made = [line for user in (first, second) for line in user.lines if line.startswith("creating")]
        assert len(made) == 1
        pids = server_pids(directory, url)
        keepers = (keeper_pid(directory), find_process("adapters.embedded.keeper", str(directory.resolve())))
        assert keepers[0] == keepers[1]
        with psycopg.connect(url) as connection:  # one connection throughout: the server is never restarted
            assert first.leave() == 0
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert second.leave() == 0
    eventually(lambda: all_gone(pids), "the end of the server's processes")


def test_many_come_and_go_at_once(directory: Path) -> None:
    for _ in range(3):
        with user_process(directory, "check") as one, user_process(directory, "check") as two, quiet(directory) as here:
            users = [one, two]
            assert [user.leave() for user in users] == [0, 0]
            assert all("answer 42" in user.lines for user in users)
            assert answers(here.url(driver=None))


def test_a_failing_user_stops_its_server(directory: Path) -> None:
    with user_process(directory, "raise") as user:
        pids = server_pids(directory, user.read("url "))
        assert user.leave() == 1
        assert "ValueError: the user failed" in user.lines
    eventually(lambda: all_gone(pids), "the end of the server's processes")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_server_ends_with_a_user_that_a_signal_ends(directory: Path, number: signal.Signals) -> None:
    with user_process(directory) as user:
        pids = server_pids(directory, user.read("url "))
        user.process.send_signal(number)
        assert user.process.wait() == -number
    eventually(lambda: all_gone(pids), "the end of the server's processes")


def test_ctrl_c_reaches_the_user_but_not_the_server(directory: Path) -> None:
    with quiet(directory) as server, user_process(directory, process_group=0) as user:
        user.read("url ")
        with psycopg.connect(server.url(driver=None)) as connection:
            os.killpg(user.process.pid, signal.SIGINT)
            assert user.process.wait() in {-signal.SIGINT, 130}
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_ctrl_c_ends_the_server_of_its_only_user_in_order(directory: Path) -> None:
    with user_process(directory, process_group=0) as user:
        pids = server_pids(directory, user.read("url "))
        assert os.getsid(keeper_pid(directory)) != os.getsid(user.process.pid)  # no key of its terminal reaches it
        os.killpg(user.process.pid, signal.SIGINT)
        user.process.wait()
    eventually(lambda: all_gone(pids), "the end of the server's processes")
    assert "database system is shut down" in (directory / "postgres.log").read_text()


def test_a_forked_copy_of_a_user_does_not_stop_the_server(directory: Path) -> None:
    with quiet(directory) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        pid = keeper_pid(directory)
        assert answers(server.url(driver=None))
    eventually(lambda: all_gone([pid]), "the end of the keeper")
