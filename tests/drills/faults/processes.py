"""Children and memory of processes, from /proc or ps."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

_PS = "/bin/ps"


def children(pid: int) -> list[int]:
    if sys.platform == "linux":
        with suppress(FileNotFoundError, ProcessLookupError):
            return [
                int(child)
                for thread in Path(f"/proc/{pid}/task").iterdir()
                for child in (thread / "children").read_text().split()
            ]
        return []
    listed = subprocess.check_output([_PS, "-axo", "pid=,ppid="], text=True)  # noqa: S603
    pairs = (line.split() for line in listed.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children; 0 if it has exited."""
    return sum(_resident_bytes(one) for one in [pid, *children(pid)])


def _resident_bytes(pid: int) -> int:
    if sys.platform == "linux":
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0
    completed = subprocess.run([_PS, "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603
    return int(completed.stdout or 0) * 1024


@contextmanager
def memory_watched(pid: int, *, every: float = 1.0) -> Iterator[list[tuple[float, int]]]:
    """Yield a list that grows: monotonic time, and resident bytes of the process and its children."""
    found: list[tuple[float, int]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            found.append((monotonic(), resident_bytes(pid)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
