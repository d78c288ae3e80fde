"""Make a release: set the version, date the changelog, build the artifacts, commit, and tag. Nothing is pushed.

`make release VERSION=0.2.0` runs it on a clean main. If a step before the tag fails, no file changes.
"""

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from deploy.openapi_changes import breaking_changes

BRANCH = "main"
PYPROJECT, CHANGELOG, OPENAPI, LOCK = map(Path, ("pyproject.toml", "CHANGELOG.md", "openapi.json", "requirements.txt"))
DIST = Path("dist")
UNRELEASED = "## [Unreleased]\n"
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
PROJECT_VERSION = re.compile(r'^version = "(.+)"$', re.MULTILINE)


class ReleaseError(Exception):
    """Carry the reason why no release was made."""


def main(version: str) -> None:
    """Make a release on a clean main."""
    check_repository(version)
    previous = last_release()
    check_version(version, previous)
    if previous:
        check_compatibility(version, previous)
    try:
        date_changelog(version)
        set_version(version)
        build(version)
        commit(f"Publish version {version}")
        git("tag", "--annotate", f"v{version}", "--message", f"Hexapost {version}")
        following = next_versions(version)[1]
        set_version(following)  # contract revisions take it as `safe_from`
        commit(f"Begin version {following}")
    except BaseException:
        git("restore", "--staged", "--worktree", ".")
        raise
    print(f"hexapost: created the tag v{version} and these files:", *sorted(DIST.iterdir()), sep="\n  ")
    print(f"hexapost: to publish, run: git push --atomic origin {BRANCH} v{version}")


def check_repository(version: str) -> None:
    """Raise ReleaseError unless the version is valid and new, and a clean main is checked out."""
    if not VERSION.fullmatch(version):
        raise ReleaseError("the version must look like 1.2.3: make release VERSION=1.2.3")
    if (branch := git("branch", "--show-current")) != BRANCH:
        raise ReleaseError(f"a release needs the branch {BRANCH}, not {branch or 'a detached HEAD'}")
    if git("status", "--porcelain"):
        raise ReleaseError("the working tree has changes: commit or remove them")
    if git("tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists")


def last_release() -> str:
    """Return the highest version with a tag before HEAD, or an empty string."""
    tags = git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").split()
    return next((tag[1:] for tag in tags if VERSION.fullmatch(tag[1:])), "")


def check_version(version: str, previous: str) -> None:
    """Raise ReleaseError unless the version follows the previous one, or is that of the project without one."""
    allowed = next_versions(previous) if previous else PROJECT_VERSION.findall(PYPROJECT.read_text("utf-8"))[:1]
    if version not in allowed:
        raise ReleaseError(f"the version after {previous or 'no release'} is {' or '.join(allowed)}, not {version}")


def next_versions(version: str) -> list[str]:
    """Return the next patch, minor and major version."""
    major, minor, patch = map(int, version.split("."))
    return [f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0", f"{major + 1}.0.0"]


def check_compatibility(version: str, previous: str) -> None:
    """Raise ReleaseError for a breaking change that the version does not permit (semver.org, items 4 and 8)."""
    _, minor, major = next_versions(previous)
    permitted = [minor, major] if previous.startswith("0.") else [major]
    old, new = json.loads(git("show", f"v{previous}:{OPENAPI}")), json.loads(OPENAPI.read_text("utf-8"))
    changes = list(breaking_changes(old, new))
    if changes and version not in permitted:
        reason = f"{OPENAPI} has breaking changes since {previous}, so the version must be {' or '.join(permitted)}"
        raise ReleaseError("\n  ".join([f"{reason}:", *changes]))


def date_changelog(version: str) -> None:
    """Move the entries under "Unreleased" to a section of the version. Raises ReleaseError without entries."""
    text = CHANGELOG.read_text("utf-8")
    before, heading, entries = text.partition(UNRELEASED)
    if not re.match(r"\s+(?!## )\S", entries):
        raise ReleaseError(f"{CHANGELOG} has no entries under [Unreleased]")
    date = datetime.now(UTC).date()
    CHANGELOG.write_text(f"{before}{heading}\n## [{version}] - {date}\n{entries}", encoding="utf-8")


def set_version(version: str) -> None:
    """Write the version to the project and to the OpenAPI document, which `hexapost openapi` derives from it."""
    project = PYPROJECT.read_text("utf-8")
    PYPROJECT.write_text(PROJECT_VERSION.sub(f'version = "{version}"', project, count=1), encoding="utf-8")
    document = json.loads(OPENAPI.read_text("utf-8"))
    document["info"]["version"] = version
    OPENAPI.write_text(f"{json.dumps(document, indent=2)}\n", encoding="utf-8")


def build(version: str) -> None:
    """Build the sdist, from it the wheel, and a list of the locked packages (SBOM) in the format CycloneDX."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST))
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
    sbom = DIST / f"hexapost-{version}.cdx.json"
    options = ["--pyproject", str(PYPROJECT), "--output-reproducible", "--output-file", str(sbom)]
    run(sys.executable, "-m", "cyclonedx_py", "requirements", *options, str(LOCK))


def commit(subject: str) -> None:
    """Commit all changes of tracked files."""
    git("commit", "--quiet", "--all", "--message", f"release: {subject}")


def git(*arguments: str) -> str:
    """Return the output of a git command without whitespace at its ends. Raises ReleaseError if it fails."""
    return run("git", *arguments).strip()


def run(*command: str) -> str:
    """Return the output of a command. Raises ReleaseError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ReleaseError as error:
        sys.exit(f"hexapost: {error}")
