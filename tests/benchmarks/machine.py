"""Describes the machine."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.database import BenchDatabase

_PACKAGES = ("uvicorn", "uvloop", "httptools", "fastapi", "starlette", "pydantic", "sqlalchemy", "asyncpg")
_IDLE_LOAD = 1.0
_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


def describe(database: BenchDatabase) -> dict[str, str]:
    """Return the machine and the versions, with which readers can compare results."""
    load = os.getloadavg()
    shared = "" if load[0] <= _IDLE_LOAD else " shared with other work"
    settings = ", ".join(f"{name} {database.setting(name)}" for name in _SETTINGS)
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} cores{shared}, load average {load[0]:.1f}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {packages}",
        "database": f"PostgreSQL {database.setting('server_version')}, {settings}, over {database.url.drivername}",
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(errors="replace").splitlines() if described.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
