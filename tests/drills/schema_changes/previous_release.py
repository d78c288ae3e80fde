"""Code of the previous release, extracted from git, which runs in the current virtual environment."""

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
from tests.drills.scenario import ScenarioError
from tests.support.template_databases import connected, with_driver

SECONDS = 120.0
_PARTS = ("domain", "application", "adapters", "migrations", "pyproject.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Directory and description of the code that serves."""

    root: Path
    name: str

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment in which a command imports this code."""
        return {"PYTHONPATH": str(self.root)}

    @property
    def version(self) -> str:
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])

    def prepare(self, database: URL, directory: Path) -> None:
        """Replace the schema of a database with that of the release. Raises ScenarioError on failure."""
        if self.root == ROOT:
            return
        with connected(database) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        done = subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, "migrate"],
            cwd=directory,
            env=environment(DATABASE_URL=rendered(with_driver(database, "asyncpg")), **self.variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise ScenarioError(f"{self.name} does not migrate an empty database: {done.stderr[-1000:]}")


def checkout_release(reference: str, directory: Path, *, repository: Path = ROOT) -> Release:
    """Extract a tag or commit into a new directory. If the reference is empty, return the working tree.

    Raises ScenarioError for an unknown reference.
    """
    if not reference:
        return Release(root=repository, name="the working tree")
    found = _git(repository, "rev-parse", "--verify", "--short", "--end-of-options", f"{reference}^{{commit}}")
    commit = found.decode().strip()
    packed = _git(repository, "archive", "--format=zip", commit, "--", *_PARTS)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(directory)
    return Release(root=directory, name=f"commit {commit}" if commit in reference else f"{reference} ({commit})")


def last_tag(*, repository: Path = ROOT) -> str:
    """Return the last tag before the current commit; empty without a tag or a repository."""
    try:
        if Path(_git(repository, "rev-parse", "--show-toplevel").decode().strip()) != repository.resolve():
            return ""  # the directory is part of another repository
        return _git(repository, "describe", "--tags", "--abbrev=0", "HEAD^").decode().strip()
    except ScenarioError:
        return ""


def _git(repository: Path, *arguments: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise ScenarioError("git is not installed")
    done = subprocess.run(  # noqa: S603 - arguments of the command line
        [git, "-C", repository, *arguments], capture_output=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        raise ScenarioError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
