"""The previous release: its code from git, which serves in the current virtual environment."""

import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from adapters.testing.template_databases import connected
from tests.cli.support import COMMAND, ROOT, environment, rendered
from tests.drills.scenario import ScenarioError
from tests.support.revisions import RevisionError, extract_revision, git

SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A source tree that can serve, and its name in reports."""

    root: Path
    name: str

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables with which a command runs the code of the release."""
        return {"PYTHONPATH": str(self.root)}

    @property
    def version(self) -> str:
        """The version number."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])

    def prepare(self, database: URL, directory: Path) -> None:
        """Create the schema of this release after its expand phase. Raises ScenarioError if the migration fails."""
        with connected(database) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        done = subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, "migrate", "--phase", "expand"],
            cwd=directory,
            env=environment(DATABASE_URL=rendered(database.set(drivername="postgresql+asyncpg")), **self.variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise ScenarioError(f"{self.name} does not migrate an empty database: {done.stderr[-1000:]}")


def checkout_release(reference: str, directory: Path, *, repository: Path = ROOT) -> Release:
    """Extract a tag or commit into a new directory. An empty reference means the working tree.

    Raises ScenarioError for an unknown reference.
    """
    if not reference:
        return Release(root=repository, name="the working tree")
    try:
        commit = extract_revision(reference, directory, repository=repository)
    except RevisionError as error:
        raise ScenarioError(str(error)) from error
    name = f"commit {commit}" if reference.startswith(commit[:7]) else f"{reference} ({commit})"
    return Release(root=directory, name=name)


def last_tag(*, repository: Path = ROOT) -> str:
    """Return the last tag before HEAD. Return an empty string without a tag, and outside a git repository."""
    try:
        if Path(git(repository, "rev-parse", "--show-toplevel").decode().strip()) != repository.resolve():
            return ""  # these files are in a directory of another repository
        return git(repository, "describe", "--tags", "--abbrev=0", "HEAD^").decode().strip()
    except RevisionError:
        return ""
