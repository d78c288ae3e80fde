"""Starts the keeper's children so that none outlives it."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from adapters.embedded.clean_environment import clean_environment
from adapters.embedded.os_user import LIBC, OsUser

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Make orphans among our descendants our own children (prctl(2), Linux only)."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(
    command: Sequence[str | Path], *, os_user: OsUser, log: int, lock: int, death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start `command` as `os_user` in a session of its own.

    It writes to the descriptor `log`, shares the lock of the descriptor `lock`, and gets `death_signal` when we die,
    where the kernel can do that. We must have one thread only, because Linux ties that signal to the thread that forks.
    """
    return subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=clean_environment(),
        pass_fds=(lock,),
        start_new_session=True,
        preexec_fn=_entry(os_user, os.getpid(), death_signal),  # noqa: PLW1509  one thread only
    )


def _entry(os_user: OsUser, parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child does before it runs its program."""

    def enter() -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os_user.switch()
        if sys.platform == "linux":  # last, because a change of identity undoes it
            if LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")
            if os.getppid() != parent:  # it died before the kernel knew
                os._exit(1)

    return enter


def kill_orphans() -> None:
    """Kill and reaps the children that came to us when their own parent died (Linux, as subreaper)."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    if not listing.exists():
        return
    for pid in map(int, listing.read_text().split()):
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def wait_for_exit(child: subprocess.Popen[bytes], *, seconds: float) -> bool:
    """Tell whether the child ended within that many seconds."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
