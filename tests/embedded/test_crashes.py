"""What happens when a part is killed half way."""

import os
import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.embedded.support import (
    all_gone,
    answers,
    ask,
    eventually,
    find_process,
    keeper_pid,
    postmaster_pid,
    quiet,
    server_pids,
    user_process,
)


def test_a_killed_server_comes_back_on_the_same_socket(directory: Path) -> None:
    with quiet(directory) as server:
        url = server.url(driver=None)
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
        for _ in range(3):
            before = postmaster_pid(directory)
            os.kill(before, signal.SIGKILL)
            eventually(lambda: not all_gone([postmaster_pid_or_zero(directory)]), "a new server")
            eventually(lambda: answers(url), "an answer of the new server")
            assert postmaster_pid(directory) != before
        assert ask(url, "SELECT number FROM kept") == 7
        pids = server_pids(directory, url)
    eventually(lambda: all_gone(pids), "the end of the server's processes")


def postmaster_pid_or_zero(directory: Path) -> int:
    try:
        return postmaster_pid(directory)
    except (FileNotFoundError, ValueError):
        return 0


def test_a_server_killed_under_a_busy_client_comes_back(directory: Path) -> None:
    with quiet(directory) as server, closing(psycopg.connect(server.url(driver=None))) as connection:
        backend = connection.info.backend_pid
        # a loop that never waits does not learn by itself that its server is gone; only Linux lets us find and end it
        seconds = 600 if sys.platform == "linux" else 3
        loop = f"DO 'BEGIN LOOP EXIT WHEN clock_timestamp() > now() + interval ''{seconds} s''; END LOOP; END'"
        connection.pgconn.send_query(loop.encode())
        while connection.pgconn.flush():
            time.sleep(0.01)
        busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%LOOP%' AND state = 'active'"
        eventually(lambda: ask(server.url(driver=None), busy) == 1, "a busy backend")
        os.kill(postmaster_pid(directory), signal.SIGKILL)
        eventually(lambda: all_gone([backend]), "the end of the orphan")
        eventually(lambda: answers(server.url(driver=None)), "an answer of the new server")


def test_the_server_dies_with_its_keeper_and_the_next_start_works(directory: Path) -> None:
    with user_process(directory) as user:
        url = user.read("url ")
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
        pids = server_pids(directory, url)
        os.kill(keeper_pid(directory), signal.SIGKILL)
        if sys.platform == "linux":  # elsewhere the next start sees to it
            eventually(lambda: all_gone(pids), "the end of the server without its keeper")
        with quiet(directory) as server:
            assert ask(server.url(driver=None), "SELECT number FROM kept") == 7
            assert keeper_pid(directory) not in pids
            assert postmaster_pid(directory) not in pids
        assert user.leave() == 0
    eventually(lambda: all_gone(pids), "the end of the first server's processes")


def test_a_keeper_that_is_asked_to_end_stops_the_server(directory: Path) -> None:
    with user_process(directory) as user:
        pids = server_pids(directory, user.read("url "))
        os.kill(keeper_pid(directory), signal.SIGTERM)
        eventually(lambda: all_gone(pids), "the end of the server's processes")
        assert user.leave() == 0


def test_initdb_killed_half_way_is_an_error_and_then_forgotten(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    with user_process(directory) as user:
        os.kill(wait_for_initdb(directory), signal.SIGKILL)
        assert "could not make its cluster" in user.read("error ")
        user.leave()
    assert not (directory / "data").exists()
    with quiet(directory) as server:
        assert answers(server.url(driver=None))


def test_keeper_killed_in_initdb_takes_it_along_and_the_next_start_makes_the_cluster_anew(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    with user_process(directory) as user:
        initdb = wait_for_initdb(directory)
        keeper = find_process("adapters.embedded.keeper", str(directory.resolve()))
        assert keeper
        os.kill(keeper, signal.SIGKILL)
        assert "ended at once" in user.read("error ")
        user.leave()
    assert not (directory / "data").exists()
    (directory / "data.unfinished").mkdir(exist_ok=True)
    (directory / "data.unfinished" / "half").write_text("worthless")
    with quiet(directory) as server:
        assert answers(server.url(driver=None))
    assert all_gone([initdb])
    assert not (directory / "data" / "half").exists()
    assert not (directory / "data.unfinished").exists()


def wait_for_initdb(directory: Path) -> int:
    """Return initdb's process, once it has begun to write."""
    unfinished = directory.resolve() / "data.unfinished"
    eventually((unfinished / "PG_VERSION").exists, "the beginning of a cluster")
    pid = find_process("initdb", str(unfinished))
    assert pid
    return pid


@pytest.mark.parametrize("pid", [os.getpid(), os.getppid(), 2**22 - 3], ids=["ours", "parent", "nobody's"])
def test_a_stale_pid_file_does_not_matter(directory: Path, pid: int) -> None:
    lines = [str(pid), str(directory / "data"), "1700000000", "5432", "", "", "  1234567    123456", "ready   "]
    (directory / "data" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with quiet(directory) as server:
        assert answers(server.url(driver=None))
        assert postmaster_pid(directory) != pid
    assert not all_gone([os.getpid(), os.getppid()])


def test_stale_sockets_do_not_matter(directory: Path) -> None:
    with quiet(directory) as server:
        sockets = Path(server.host)
    sockets.mkdir(mode=0o700)
    (sockets / ".s.PGSQL.5432.lock").write_text(f"{os.getpid()}\n{directory / 'data'}\n1700000000\n5432\n{sockets}\n")
    for name in (".s.PGSQL.5432", "keeper.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(sockets / name))
    with quiet(directory) as server:
        assert Path(server.host) == sockets
        assert answers(server.url(driver=None))
