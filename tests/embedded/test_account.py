"""Who the server runs as: root has it run as another, everybody else as themselves."""

import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgresError
from adapters.embedded.account import (
    CAP_DAC_OVERRIDE,
    LIBC,
    Namespace,
    OtherAccount,
    OwnAccount,
    choose_account,
)
from adapters.embedded.binaries import find_binaries
from tests.embedded.support import answers, postmaster_pid, quiet, user_process

PR_CAPBSET_DROP, CAP_SETFCAP = 24, 31
NOBODY = pwd.getpwnam("nobody")
BECOME_NOBODY = OtherAccount(NOBODY.pw_uid, NOBODY.pw_gid, CAP_DAC_OVERRIDE).adopt
IS_ROOT = os.geteuid() == 0


def stay() -> None:
    """Leave the user what we are."""


def forgo_namespaces() -> None:
    """Take from root, and from what it runs, the right to map itself into a user namespace."""
    LIBC.prctl(PR_CAPBSET_DROP, CAP_SETFCAP, 0, 0, 0)


WAYS = {"root": stay, "root without namespaces": forgo_namespaces, "nobody": BECOME_NOBODY} if IS_ROOT else {"we": stay}


@pytest.mark.parametrize("become", WAYS.values(), ids=WAYS.keys())
def test_every_kind_of_user_gets_a_server(tmp_path: Path, become: Callable[[], None]) -> None:
    directory = tmp_path / "postgres"
    directory.mkdir()
    if become is BECOME_NOBODY:
        os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
    for _ in ("a new cluster", "the same again"):
        with user_process(directory, "check", preexec_fn=become) as user:
            user.read("url ")
            assert_not_root(postmaster_pid(directory))
            assert user.leave() == 0
            assert "answer 42" in user.lines
    owners = {path.stat().st_uid for path in (directory, *directory.iterdir(), directory / "data" / "PG_VERSION")}
    assert len(owners) == 1
    if become is forgo_namespaces:
        assert owners != {0}
    if become is BECOME_NOBODY:
        assert owners == {NOBODY.pw_uid}


def assert_not_root(pid: int) -> None:
    """Check that a server is another user than root, at least in its own eyes."""
    if sys.platform == "linux":
        namespaces = [Path(f"/proc/{process}/ns/user").readlink() for process in ("self", pid)]
        assert Path(f"/proc/{pid}").stat().st_uid != 0 or namespaces[0] != namespaces[1]


def test_a_server_of_root_moves_between_accounts(tmp_path: Path) -> None:
    """A cluster made by one kind of user stays of use to root, with and without namespaces."""
    directory = tmp_path / "postgres"
    for become in (*WAYS.values(), *reversed(WAYS.values())):
        if become is not BECOME_NOBODY:
            with user_process(directory, "check", preexec_fn=become) as user:
                user.read("url ")
                assert user.leave() == 0
                assert "answer 42" in user.lines
    with quiet(directory) as server:
        assert answers(server.url(driver=None))


def test_the_choice_is_explained_when_there_is_none(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    if IS_ROOT:
        with pytest.raises(EmbeddedPostgresError, match=r"does not run as root.*DATABASE_URL"):
            choose_account(tmp_path, program)
    else:
        assert choose_account(tmp_path, program) == OwnAccount(os.geteuid(), os.getegid())


def test_the_choice_depends_on_who_we_are(tmp_path: Path) -> None:
    account = choose_account(tmp_path, find_binaries().directory / "postgres")
    assert isinstance(account, (Namespace, OtherAccount) if IS_ROOT else OwnAccount)
