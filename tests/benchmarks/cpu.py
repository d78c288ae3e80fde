"""How much CPU a group of processes has used."""

import os
import subprocess
import sys
from pathlib import Path

# Fields of /proc/<pid>/stat after the name, counted from 0 (proc_pid_stat(5) counts them from 3).
_GROUP = 2
_TIMES = slice(11, 15)  # utime, stime, and those of the children that were waited for


def group_cpu_seconds(group: int) -> float:
    """Return the user and system time of all processes of a process group, and of their children that have ended."""
    return _from_proc(group) if sys.platform == "linux" else _from_ps(group)


def _from_proc(group: int) -> float:
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[_GROUP]) == group:
            ticks += sum(map(int, fields[_TIMES]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _from_ps(group: int) -> float:
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,time="], capture_output=True, check=True, text=True)  # noqa: S607
    found = (line.split() for line in listed.stdout.splitlines())
    return sum(clock_seconds(time) for its_group, time in found if int(its_group) == group)


def clock_seconds(text: str) -> float:
    """Return the seconds of a time as `ps` writes it: [days-][hours:]minutes:seconds, perhaps with a fraction."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return int(days or 0) * 86_400 + seconds
