"""The release before: its code, taken out of git, to serve in the virtual environment of the own code."""

import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from tests.cli.support import COMMAND, ROOT, environment, rendered
from tests.drills.drill import DrillError
from tests.support.databases import connected
from tests.support.revisions import RevisionError, extract_revision, git

SECONDS = 120.0


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
    try:
        commit = extract_revision(reference, directory, repository=repository)
    except RevisionError as error:
        raise DrillError(str(error)) from error
    name = f"commit {commit}" if reference.startswith(commit[:7]) else f"{reference} ({commit})"
    return Release(root=directory, name=name)


def last_tag(*, repository: Path = ROOT) -> str:
    """Return the last tag before the commit that is checked out; nothing where there is none, or no git."""
    try:
        if Path(git(repository, "rev-parse", "--show-toplevel").decode().strip()) != repository.resolve():
            return ""  # the repository of somebody who has unpacked us in it
        return git(repository, "describe", "--tags", "--abbrev=0", "HEAD^").decode().strip()
    except RevisionError:
        return ""
