"""A server that runs on the cluster already, without a keeper."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgresError
from adapters.embedded.account import choose_account, hand_over
from adapters.embedded.binaries import find_binaries
from adapters.embedded.layout import prepare_directory
from adapters.embedded.locks import try_lock
from tests.embedded.support import all_gone, answers, eventually, postmaster_pid, quiet


@contextmanager
def server_without_keeper(directory: Path, *, holds_lock: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that does not end with its parent; with the lock it is one that a killed keeper left."""
    program = find_binaries().directory / "postgres"
    layout = prepare_directory(directory)
    account = choose_account(layout.directory, program)
    hand_over(layout, account)
    lock = try_lock(layout.server_lock)
    assert lock is not None
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        os.chown(sockets, account.uid, account.gid)
        server = subprocess.Popen(  # noqa: S603
            [program, "-D", layout.data, "-k", sockets, "-c", "listen_addresses="],
            stderr=subprocess.DEVNULL,
            preexec_fn=account.adopt,  # noqa: PLW1509  one thread only
            pass_fds=[lock] if holds_lock else [],
        )
        os.close(lock)
        with server:
            try:
                pid_file = layout.data / "postmaster.pid"
                eventually(lambda: pid_file.exists() and "ready" in pid_file.read_text(), "a running server")
                yield server
            finally:
                server.terminate()


def test_a_server_that_outlived_its_keeper_is_stopped_in_order(directory: Path) -> None:
    with server_without_keeper(directory, holds_lock=True) as left, quiet(directory) as server:
        assert left.wait() == 0
        assert answers(server.url(driver=None))
        assert postmaster_pid(directory) != left.pid


def test_a_server_started_by_hand_is_left_alone(directory: Path) -> None:
    with server_without_keeper(directory, holds_lock=False) as stranger:
        with pytest.raises(EmbeddedPostgresError, match=f"process {stranger.pid}.*stop it first"), quiet(directory):
            pass
        assert not all_gone([stranger.pid])
        assert postmaster_pid(directory) == stranger.pid


def test_a_cluster_in_use_under_another_name_is_left_alone(directory: Path, tmp_path: Path) -> None:
    with quiet(directory) as server:
        pid = postmaster_pid(directory)
        other = tmp_path / "other"
        other.mkdir()
        (other / "data").symlink_to(directory / "data")
        with pytest.raises(EmbeddedPostgresError, match=f"process {pid}.*stop it first"), quiet(other):
            pass
        assert postmaster_pid(directory) == pid
        assert answers(server.url(driver=None))
