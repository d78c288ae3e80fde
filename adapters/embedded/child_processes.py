"""Child processes of the daemon, which end with it."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from adapters.embedded.os_user import LIBC, OsUser

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PASSED_THROUGH = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


def clean_environment() -> dict[str, str]:
    """Return an environment without the PG* variables, the locale and the time zone of the caller."""
    inherited = {name: os.environ[name] for name in PASSED_THROUGH if name in os.environ}
    return {"PATH": os.defpath} | inherited | {"LC_ALL": "C", "TZ": "UTC"}


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
