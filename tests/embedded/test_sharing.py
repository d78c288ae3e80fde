"""Tests for a server that several processes share."""

import os
import signal
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
from sqlalchemy import make_url

from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError, embedded_postgres, make_private_directory
from adapters.embedded.paths import lock, opened
from tests.embedded.support import (
    UserProcess,
    all_gone,
    answers,
    ask,
    daemon_pid,
    eventually,
    postmaster_pid,
    quiet,
    server_pids,
)


def test_stop_ends_all_processes_and_removes_sockets(directory: Path) -> None:
    with pytest.raises(ValueError, match="the user failed"), quiet(directory) as server:
        pids = server_pids(directory, server.url(driver=None))
        daemon = daemon_pid(directory)
        raise ValueError("the user failed")
    assert all_gone(pids - {daemon})
    assert not (directory / "data" / "postmaster.pid").exists()
    eventually(lambda: all_gone([daemon]), "the end of the daemon")
    assert not Path(server.host).exists()


def test_second_start_keeps_data(directory: Path) -> None:
    server = quiet(directory)
    server.start()
    with pytest.raises(EmbeddedPostgresError, match="already started"):
        server.start()
    maintenance = server.url("postgres", driver=None)
    ask(maintenance, "CREATE TABLE kept AS SELECT 7 AS number")
    server.stop()
    server.stop()
    with server:
        assert ask(maintenance, "SELECT number FROM kept") == 7
        assert ask(server.url(driver=None), "SELECT current_database()") == "hexapost"


def test_server_restarts_on_same_socket_when_postgres_exits(directory: Path) -> None:
    with quiet(directory) as server:
        stopped, daemon, host = postmaster_pid(directory), daemon_pid(directory), server.host
        os.kill(stopped, signal.SIGINT)
        eventually(lambda: all_gone([stopped, daemon]), "the end of the server and of the daemon")
        server.ensure_running()
        assert server.host == host
        assert answers(server)
        assert postmaster_pid(directory) != stopped


def test_sigterm_to_daemon_stops_the_server(directory: Path) -> None:
    with quiet(directory) as server:
        pids = server_pids(directory, server.url(driver=None))
        os.kill(daemon_pid(directory), signal.SIGTERM)
        eventually(lambda: all_gone(pids), "the end of the server's processes")


def test_new_cluster_reports_and_has_fixed_defaults(tmp_path: Path) -> None:
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


def test_url_connects_with_each_driver(running: EmbeddedPostgres) -> None:
    for driver in ("asyncpg", "psycopg"):
        url = make_url(running.url("other name", driver=driver))
        assert url.drivername == f"postgresql+{driver}"
        assert (url.username, url.database) == ("hexapost", "other name")
        assert url.query == {"host": running.host, "port": "5432"}
    assert unquote(running.url(driver=None)).startswith("postgresql://hexapost@/hexapost?host=/")
    assert ask(running.url(driver=None), "SELECT current_user") == "hexapost"


def test_settings_of_the_first_user_apply_to_later_users(directory: Path) -> None:
    settings = {"max_connections": "300", "application_name": 'it\'s a "name" with spaces'}
    with EmbeddedPostgres(directory, report=lambda _: None, settings=settings) as first:
        assert ask(first.url(driver=None), "SHOW application_name") == settings["application_name"]
        with quiet(directory) as second:
            assert ask(second.url(driver=None), "SHOW max_connections") == "300"


def test_concurrent_first_users_share_a_new_server(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    with UserProcess(directory) as first, UserProcess(directory) as second:
        url = first.url()
        assert second.url() == url
        assert len([line for user in (first, second) for line in user.lines if line.startswith("creating")]) == 1
        pids = server_pids(directory, url)
        with psycopg.connect(url) as connection:  # it breaks if the server restarts
            assert first.leave() == 0
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert second.leave() == 0
    eventually(lambda: all_gone(pids), "the end of the server's processes")


def test_server_survives_users_that_come_and_go(directory: Path) -> None:
    for _ in range(2):
        with UserProcess(directory) as one, UserProcess(directory) as two, quiet(directory) as here:
            assert [user.leave() for user in (one, two)] == [0, 0]
            assert answers(here)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, pytest.param(signal.SIGKILL, marks=pytest.mark.drill)]
)
def test_server_ends_after_signal_to_its_only_user(directory: Path, number: signal.Signals) -> None:
    with UserProcess(directory) as user:
        pids = server_pids(directory, user.url())
        user.send_signal(number)
        assert user.finish() == -number  # its output ends: the server has not inherited it
    eventually(lambda: all_gone(pids), "the end of the server's processes")


def test_ctrl_c_does_not_reach_a_shared_server(running: EmbeddedPostgres, running_directory: Path) -> None:
    with UserProcess(running_directory, process_group=0) as user:
        user.url()
        with psycopg.connect(running.url(driver=None)) as connection:
            os.killpg(user.pid, signal.SIGINT)
            assert user.finish() in {-signal.SIGINT, 130}
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_ctrl_c_of_the_only_user_shuts_the_server_down(directory: Path) -> None:
    with UserProcess(directory, process_group=0) as user:
        pids = server_pids(directory, user.url())
        assert os.getsid(daemon_pid(directory)) != os.getsid(user.pid)
        os.killpg(user.pid, signal.SIGINT)
        user.finish()
    eventually(lambda: all_gone(pids), "the end of the server's processes")
    assert "database system is shut down" in (directory / "postgres.log").read_text()


def test_start_raises_when_daemon_does_not_become_ready(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "START_TIMEOUT_SECONDS", 0.1)
    with opened(make_private_directory(directory) / "daemon.lock") as daemon_lock:
        assert lock(daemon_lock)
        with pytest.raises(EmbeddedPostgresError, match="did not become ready"):
            quiet(directory).start()


def test_stop_reports_daemon_that_does_not_end(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    server = EmbeddedPostgres(directory, report=lines.append)
    server.start()
    daemon = daemon_pid(directory)
    pids = server_pids(directory, server.url(driver=None))
    monkeypatch.setattr(embedded_postgres, "STOP_TIMEOUT_SECONDS", 0)
    os.kill(daemon, signal.SIGSTOP)
    server.stop()
    os.kill(daemon, signal.SIGCONT)
    assert lines[-1] == "PostgreSQL is still stopping after 0 seconds"
    eventually(lambda: all_gone(pids), "the end of the server's processes")


def test_stop_in_forked_child_keeps_the_server(directory: Path) -> None:
    with quiet(directory) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        assert answers(server)
