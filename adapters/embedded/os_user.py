"""Who PostgreSQL runs as. It refuses to run as root, so root gives it another identity."""

import ctypes
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.clean_environment import clean_environment
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.file_locks import open_private
from adapters.embedded.paths import Paths

CLONE_NEWUSER = 0x10000000
PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP = 28, 4
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
CAPABILITY_VERSION_3 = 0x20080522
NO_USER_NAMESPACE_MESSAGE = "this system permits no user namespace"
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """The user we are."""

    uid: int
    gid: int

    def switch(self) -> None:
        """Leave a child as it is."""


@dataclass(frozen=True, slots=True)
class UserNamespace:
    """The user we are, who sees itself as another in a user namespace (user_namespaces(7)).

    Files stay ours on both sides, so that what only we can read (root's 0700 home) stays readable.
    """

    uid: int
    gid: int

    def switch(self) -> None:
        """Move a child, which must have one thread only, into a new user namespace."""
        uid, gid = os.geteuid(), os.getegid()
        inner = next((entry for entry in pwd.getpwall() if entry.pw_uid != 0), None)
        inner_uid, inner_gid = (inner.pw_uid, inner.pw_gid) if inner else (1000, 1000)
        if LIBC.unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), NO_USER_NAMESPACE_MESSAGE)
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{inner_uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{inner_gid} {gid} 1")
        except OSError as error:
            raise OSError(error.errno, NO_USER_NAMESPACE_MESSAGE) from error


@dataclass(frozen=True, slots=True)
class OtherUser:
    """Another user, whom the directory then belongs to.

    It can keep one of root's capabilities, to enter directories that only root may enter.
    """

    uid: int
    gid: int
    capability: int | None = None

    def switch(self) -> None:
        """Turn a child of root into that user for good."""
        if self.capability is not None:
            LIBC.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)  # so that access(2) counts it too
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)
        if self.capability is not None:
            _keep_capability(self.capability)


def _keep_capability(capability: int) -> None:
    """Reduce our capabilities to one that programs inherit too (capabilities(7)); to none if we do not have it."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    if LIBC.capset(header, (ctypes.c_uint32 * 6)(bit, bit, bit)) == 0:  # effective, permitted, inheritable
        LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


OsUser = CurrentUser | UserNamespace | OtherUser


def choose_os_user(directory: Path, program: Path) -> OsUser:
    """Return the first account that can reach both `directory` and `program`.

    Raises EmbeddedPostgresError for root when there is none, and says what is out of reach.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and _has_name(uid):
        return CurrentUser(uid, gid)
    problems = []
    for os_user in _candidates(directory, uid, gid):
        problem = _find_obstacle(os_user, directory, program)
        if problem is None:
            return os_user
        problems.append(problem)
    if uid != 0:
        return CurrentUser(uid, gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and no other user gets to its files here: "
        f"{'; '.join(dict.fromkeys(problems))}. "
        "Run this as a normal user, or set DATABASE_URL to a running server."
    )


def _has_name(uid: int) -> bool:
    """Tell whether the uid has a name; initdb insists on that."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _candidates(directory: Path, uid: int, gid: int) -> Iterator[OsUser]:
    """Yield accounts in order of preference: whose directory it is, ourselves under another name, others."""
    owner = directory.stat()
    if uid == 0 and owner.st_uid != 0:
        yield OtherUser(owner.st_uid, owner.st_gid)
    if sys.platform == "linux":
        yield UserNamespace(uid, gid)
    if uid != 0:
        return
    for parent in directory.parents:
        owner = parent.stat()
        if owner.st_uid != 0:
            yield OtherUser(owner.st_uid, owner.st_gid)
            break
    others = [entry for entry in pwd.getpwall() if entry.pw_name in {"postgres", "nobody"}]
    capabilities = (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if sys.platform == "linux" else ()
    for capability in (None, *capabilities):  # the least that does
        for other in others:
            yield OtherUser(other.pw_uid, other.pw_gid, capability)


def _find_obstacle(os_user: OsUser, directory: Path, program: Path) -> str | None:
    """Return what keeps a child from working as that account, None when nothing does."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        problem = "no other account can be taken"
        try:
            os_user.switch()
            problem = _unreachable(os_user.uid, directory, program)
        except OSError as error:
            problem = error.strerror or problem
        finally:  # a forked child must not go on in its parent's code, whatever happens
            os.write(writer, os.fsencode(problem))
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        problem = os.fsdecode(answer.read())
    os.waitpid(child, 0)
    return problem or None


def _unreachable(uid: int, directory: Path, program: Path) -> str:
    """Name what we may not enter or run, by trying it out."""
    for path in (directory, program):
        for parent in reversed(path.parents):
            try:
                (parent / "x").lstat()
            except PermissionError:
                return f"{parent} is closed to user {uid}"
            except FileNotFoundError:
                continue
    try:
        if not os.access(program, os.R_OK | os.X_OK):  # PostgreSQL asks the same
            return f"{program} is closed to user {uid}"
        subprocess.run([program, "--version"], env=clean_environment(), stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return f"{program} does not run as user {uid}"
    return ""


def chown_directory(paths: Paths, os_user: OsUser) -> None:
    """Make the directory and what is in it the account's, if root has to; follows no links."""
    if os.geteuid() != 0:
        return
    os.close(open_private(paths.server_lock, os.O_RDWR))  # so that it is the account's from the start
    entries = [paths.directory, *paths.directory.iterdir()]
    if paths.data.is_dir() and paths.data.lstat().st_uid != os_user.uid:
        entries += paths.data.rglob("*")
    for entry in entries:
        if entry.lstat().st_uid != os_user.uid:
            os.chown(entry, os_user.uid, os_user.gid, follow_symlinks=False)
