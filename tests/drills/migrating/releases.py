"""The release before: its code, taken out of git, to serve in the virtual environment of the own code."""

import io
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from tests.cli.support import COMMAND, ROOT, environment, rendered
from tests.drills.drill import DrillError
from tests.support.databases import connected

SECONDS = 120.0
_PARTS = ("domain", "application", "adapters", "migrations", "pyproject.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Code that serves: where it is, and what it is in words."""

    root: Path
    name: str

    @property
    def variables(self) -> Mapping[str, str]:
        """What has a command take its code."""
        return {"PYTHONPATH": str(self.root)}

    @property
    def version(self) -> str:
        """Its number."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])

    def prepare(self, database: URL, directory: Path) -> None:
        """Have a migrated database be as this release itself makes it, without rows. Raises DrillError if it fails."""
        if self.root == ROOT:
            return
        with connected(database) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        done = subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, "migrate"],
            cwd=directory,
            env=environment(DATABASE_URL=rendered(database.set(drivername="postgresql+asyncpg")), **self.variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise DrillError(f"{self.name} does not migrate an empty database: {done.stderr[-1000:]}")


def taken(reference: str, directory: Path, *, repository: Path = ROOT) -> Release:
    """Return the code of a tag or commit, put into a new directory; the own code when the reference is empty.

    Raises DrillError when git does not know it.
    """
    if not reference:
        return Release(root=repository, name="the own code")
    commit = _git(repository, "rev-parse", "--verify", "--short", "--end-of-options", f"{reference}^{{commit}}")
    packed = _git(repository, "archive", "--format=zip", commit.decode().strip(), "--", *_PARTS)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(directory)
    commit_words = commit.decode().strip()
    name = f"commit {commit_words}" if reference.startswith(commit_words[:7]) else f"{reference} ({commit_words})"
    return Release(root=directory, name=name)


def last_tag(*, repository: Path = ROOT) -> str:
    """Return the last tag before the commit that is checked out; nothing where there is none, or no git."""
    try:
        if Path(_git(repository, "rev-parse", "--show-toplevel").decode().strip()) != repository.resolve():
            return ""  # the repository of somebody who has unpacked us in it
        return _git(repository, "describe", "--tags", "--abbrev=0", "HEAD^").decode().strip()
    except DrillError:
        return ""


def _git(repository: Path, *arguments: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise DrillError("there is no git, which knows the releases before")
    done = subprocess.run(  # noqa: S603 - asked for by who runs the drill
        [git, "-C", repository, *arguments], capture_output=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        raise DrillError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
