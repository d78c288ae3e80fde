"""Revisions of the repository, read with git."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120.0


class RevisionError(Exception):
    """Git is missing, or a git command failed."""


def extract_revision(reference: str, directory: Path, *, repository: Path = ROOT) -> str:
    """Extract the files of a tag or commit into a new directory, and return the abbreviated commit.

    Raises RevisionError if the revision does not exist.
    """
    commit = git(repository, "rev-parse", "--verify", "--short", "--end-of-options", f"{reference}^{{commit}}")
    packed = git(repository, "archive", "--format=zip", commit.decode().strip())
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(directory)
    return commit.decode().strip()


def describe_working_tree(*, repository: Path = ROOT) -> str:
    """Return the commit that is checked out, and whether files differ from it."""
    commit = git(repository, "rev-parse", "--short", "HEAD").decode().strip()
    return f"{commit} with uncommitted changes" if git(repository, "status", "--porcelain") else commit


def git(repository: Path, *arguments: str) -> bytes:
    """Return the output of a git command. Raises RevisionError if it fails."""
    program = shutil.which("git")
    if program is None:
        raise RevisionError("git is not installed")
    done = subprocess.run(  # noqa: S603 - a fixed command, a revision that the developer names
        [program, "-C", repository, *arguments], capture_output=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        raise RevisionError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
