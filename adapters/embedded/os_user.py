"""The OS user of PostgreSQL, and child processes with it. PostgreSQL rejects root and users without a name."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.embedded.binaries import clean_environment
from adapters.embedded.paths import EmbeddedPostgresError, Paths, opened

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 4
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class OsUser:
    """An OS user. With `namespace`, it is the current one, which gets another user ID in a user namespace."""

    uid: int
    gid: int
    namespace: bool = False

    def switch(self) -> None:
        """Switch a single-threaded child process to this user."""
        if self.namespace:
            _enter_user_namespace()
        elif self.uid != os.geteuid():
            _change_user(self.uid, self.gid)


def _enter_user_namespace() -> None:
    """Keep the access to files, such as those below the home directory of root (user_namespaces(7))."""
    uid, gid = os.geteuid(), os.getegid()
    inner = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    if LIBC.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inner.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{inner.pw_gid} {gid} 1")


def _change_user(uid: int, gid: int) -> None:
    """Change from root to another user. On Linux it keeps root's access to files (capabilities(7))."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)  # access(2) considers the capability
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        header, bit = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), 1 << CAP_DAC_OVERRIDE
        if LIBC.capset(header, (ctypes.c_uint32 * 6)(bit, bit, bit)) == 0:  # effective, permitted, inheritable
            LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def choose_os_user(directory: Path, program: Path) -> OsUser:
    """Return the first candidate that can run `program` in `directory`.

    Raises EmbeddedPostgresError if no candidate can.
    """
    for candidate in _candidates(directory):
        if _can_run(candidate, directory, program):
            return candidate
    raise EmbeddedPostgresError(
        f"PostgreSQL rejects root and users without a name, and this system permits no other user to run {program} in "
        f"{directory}. Run this command as a normal user, or set DATABASE_URL to a running server."
    )


def _candidates(directory: Path) -> Iterator[OsUser]:
    """Yield users that PostgreSQL accepts, in order of preference. Only root can become another user."""
    uid, gid, owner = os.geteuid(), os.getegid(), directory.stat()
    with suppress(KeyError):
        if uid != 0 and pwd.getpwuid(uid):
            yield OsUser(uid, gid)
    if uid == 0 and owner.st_uid != 0:
        yield OsUser(owner.st_uid, owner.st_gid)
    if sys.platform == "linux":
        yield OsUser(uid, gid, namespace=True)
    for entry in pwd.getpwall() if uid == 0 else ():
        if entry.pw_name in {"postgres", "nobody"}:
            yield OsUser(entry.pw_uid, entry.pw_gid)


def _can_run(os_user: OsUser, directory: Path, program: Path) -> bool:
    """Return True if a child process can switch to the user, reach the directory, and run the program."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os_user.switch()
            directory.lstat()
            if os.access(program, os.R_OK | os.X_OK):  # PostgreSQL makes the same check
                status = subprocess.call([program, "--version"], stdout=subprocess.DEVNULL)  # noqa: S603
        finally:  # the child must not continue in the code of its parent
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def chown_directory(paths: Paths, os_user: OsUser) -> None:
    """Give the directory and its files to the user, if this process is root. Do not follow symbolic links."""
    if os.geteuid() != 0:
        return
    with opened(paths.server_lock):
        entries = [paths.directory, *paths.directory.iterdir()]
    if paths.data.is_dir() and paths.data.lstat().st_uid != os_user.uid:
        entries += paths.data.rglob("*")
    for entry in entries:
        if entry.lstat().st_uid != os_user.uid:
            os.chown(entry, os_user.uid, os_user.gid, follow_symlinks=False)


def child_options(*, os_user: OsUser, log: int, lock: int, death_signal: signal.Signals) -> dict[str, Any]:
    """Return the options of `subprocess` for a child in a new session, with these descriptors for its log and lock.

    On Linux the child gets `death_signal` when this process ends. Precondition: this process has a single thread,
    because Linux sends the signal at the end of the thread that forked.
    """
    parent = os.getpid()
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # `kill_orphans` gets the orphaned descendants

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os_user.switch()
        if sys.platform == "linux":  # after the switch, which resets the signal
            if LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")
            if os.getppid() != parent:  # the parent ended before the call
                os._exit(1)

    descriptors = {"stdout": log, "stderr": log, "pass_fds": (lock,)}
    return {**descriptors, "env": clean_environment(), "start_new_session": True, "preexec_fn": prepare}


def kill_orphans() -> None:
    """Kill and reap the orphaned descendants of this process. Precondition: its own children have ended."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    for pid in map(int, listing.read_text().split() if listing.exists() else ()):
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
