"""Tests for servers and files that an earlier run left behind."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError
from adapters.embedded.binaries import find_installation
from adapters.embedded.os_user import choose_os_user, chown_directory
from adapters.embedded.paths import Paths, lock, make_private_directory, opened
from tests.embedded.support import all_gone, answers, eventually, make_socket_directory, postmaster_pid, quiet


@contextmanager
def server_without_daemon(directory: Path, *, holds_lock: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that outlives its parent; a server that a killed daemon left holds the lock."""
    program = find_installation().directory / "postgres"
    layout = Paths(make_private_directory(directory))
    account = choose_os_user(layout.directory, program)
    chown_directory(layout, account)
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        os.chown(sockets, account.uid, account.gid)
        with opened(layout.server_lock) as server_lock:
            assert lock(server_lock)
            server = subprocess.Popen(  # noqa: S603
                [program, "-D", layout.data, "-k", sockets, "-c", "listen_addresses="],
                stderr=subprocess.DEVNULL,
                preexec_fn=account.switch,  # noqa: PLW1509  one thread only
                pass_fds=[server_lock] if holds_lock else [],
            )
        with server:
            try:
                pid_file = layout.data / "postmaster.pid"
                eventually(lambda: pid_file.exists() and "ready" in pid_file.read_text(), "a running server")
                yield server
            finally:
                server.terminate()


def test_server_without_daemon_is_stopped(directory: Path) -> None:
    with server_without_daemon(directory, holds_lock=True) as left, quiet(directory) as server:
        assert left.wait() == 0
        assert answers(server)
        assert postmaster_pid(directory) != left.pid


def test_manually_started_server_keeps_running(directory: Path) -> None:
    with server_without_daemon(directory, holds_lock=False) as manual:
        with pytest.raises(EmbeddedPostgresError, match=f"process {manual.pid}.*Stop it first"), quiet(directory):
            pass
        assert not all_gone([manual.pid])
        assert postmaster_pid(directory) == manual.pid


def test_start_raises_when_another_directory_links_the_cluster(
    running: EmbeddedPostgres, running_directory: Path, tmp_path: Path
) -> None:
    pid = postmaster_pid(running_directory)
    (tmp_path / "data").symlink_to(running_directory / "data")
    with pytest.raises(EmbeddedPostgresError, match=f"process {pid}.*Stop it first"), quiet(tmp_path):
        pass
    assert postmaster_pid(running_directory) == pid
    assert answers(running)


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 - 3], ids=["running process", "ended process"])
def test_stale_pid_file_and_sockets_are_replaced(directory: Path, pid: int) -> None:
    data = directory / "data"
    lines = [str(pid), str(data), "1700000000", "5432", "", "", "  1234567    123456", "ready   "]
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    sockets = make_socket_directory(directory)
    (sockets / ".s.PGSQL.5432.lock").write_text(f"{pid}\n{data}\n1700000000\n5432\n{sockets}\n")
    for name in (".s.PGSQL.5432", "daemon.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(sockets / name))
    with quiet(directory) as server:
        assert Path(server.host) == sockets
        assert answers(server)
        assert postmaster_pid(directory) != pid
