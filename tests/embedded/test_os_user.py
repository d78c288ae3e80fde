"""Tests for the OS user of PostgreSQL."""

import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgresError
from adapters.embedded.binaries import find_installation
from adapters.embedded.os_user import LIBC, OsUser, choose_os_user
from tests.embedded.support import UserProcess, ask, postmaster_pid

PR_CAPBSET_DROP, CAP_SETFCAP = 24, 31
NOBODY = pwd.getpwnam("nobody")
BECOME_NOBODY = OsUser(NOBODY.pw_uid, NOBODY.pw_gid).switch
IS_ROOT = os.geteuid() == 0


def stay() -> None:
    """Keep the user of the test."""


def forgo_namespaces() -> None:
    """Drop the capability that maps root into a user namespace, also for child processes."""
    LIBC.prctl(PR_CAPBSET_DROP, CAP_SETFCAP, 0, 0, 0)


USERS = {"root": stay, "root without namespaces": forgo_namespaces, "nobody": BECOME_NOBODY}
if not IS_ROOT:
    USERS = {"current user": stay}


@pytest.mark.parametrize("switch", USERS.values(), ids=USERS.keys())
def test_new_cluster_never_runs_as_root(tmp_path: Path, switch: Callable[[], None]) -> None:
    directory = tmp_path / "postgres"
    directory.mkdir()
    if switch == BECOME_NOBODY:
        os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
    with UserProcess(directory, preexec_fn=switch) as user:
        assert ask(user.url(), "SELECT 41 + 1") == 42
        assert_not_root(postmaster_pid(directory))
        assert user.leave() == 0
    owners = {path.stat().st_uid for path in (directory, *directory.iterdir(), directory / "data" / "PG_VERSION")}
    assert len(owners) == 1
    if switch is forgo_namespaces:
        assert owners != {0}
    if switch == BECOME_NOBODY:
        assert owners == {NOBODY.pw_uid}


def assert_not_root(pid: int) -> None:
    """Check that a process has another user ID than root, at least in its user namespace."""
    if sys.platform == "linux":
        namespaces = [Path(f"/proc/{process}/ns/user").readlink() for process in ("self", pid)]
        assert Path(f"/proc/{pid}").stat().st_uid != 0 or namespaces[0] != namespaces[1]


def test_cluster_moves_between_users_of_root(directory: Path) -> None:
    for switch in (forgo_namespaces, stay) if IS_ROOT else (stay, stay):
        with UserProcess(directory, preexec_fn=switch) as user:
            assert ask(user.url(), "SELECT 41 + 1") == 42
            assert user.leave() == 0


@pytest.mark.parametrize("uid", [os.geteuid(), 54321], ids=["current user", "without name"])
def test_choose_os_user_raises_when_program_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    with pytest.raises(EmbeddedPostgresError, match=r"rejects root and users without a name.*DATABASE_URL"):
        choose_os_user(tmp_path, program)


def test_choose_os_user_prefers_current_user(tmp_path: Path) -> None:
    os_user = choose_os_user(tmp_path, find_installation().directory / "postgres")
    if sys.platform == "linux" or not IS_ROOT:
        assert (os_user.uid, os_user.gid) == (os.geteuid(), os.getegid())
    assert os_user.namespace or not IS_ROOT or sys.platform != "linux"
