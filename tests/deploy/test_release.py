"""Tests for `make release`, in a small repository with the real tools."""

import json
import re
import shutil
import tarfile
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy import release
from deploy.openapi_changes import breaking_changes
from deploy.release import ReleaseError, git, main, set_version
from tests.deploy.checkouts import ROOT

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "hexapost"
version = "0.1.0"
description = "A project."
requires-python = ">=3.11"
readme = "README.md"

[tool.other]
version = "7"

[tool.hatch.build.targets.wheel]
packages = ["domain"]
"""
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A feature.\n"
OPENAPI: dict[str, Any] = {"info": {"title": "A", "version": "0.1.0"}, "paths": {"/livez": {"get": {"responses": {}}}}}
LOCK = f"""idna==3.20 \\
    --hash=sha256:{"0" * 64}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit on main, which is the working directory."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "repository"
    (root / "domain").mkdir(parents=True)
    monkeypatch.chdir(root)
    files = {
        "pyproject.toml": PROJECT,
        "CHANGELOG.md": CHANGELOG,
        "README.md": "# Hexapost\n",
        "openapi.json": json.dumps(OPENAPI),
        "requirements.txt": LOCK,
        "domain/__init__.py": "",
        ".gitignore": "dist/\n",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    git("init", "--quiet", "--initial-branch", "main")
    git("config", "user.name", "Ada")
    git("config", "user.email", "ada@example.org")
    commit("Start")
    return root


def commit(subject: str) -> None:
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", subject)


def project_version(reference: str) -> str:
    """Return the version of a commit in the project, which must be that in the OpenAPI document."""
    version = str(tomllib.loads(git("show", f"{reference}:pyproject.toml"))["project"]["version"])
    assert json.loads(git("show", f"{reference}:openapi.json"))["info"]["version"] == version
    return version


@pytest.fixture
def without_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the build, whose tools take 4 s of CPU. Another test runs them."""
    monkeypatch.setattr(release, "build", lambda _: release.DIST.mkdir(exist_ok=True))


def test_release_has_artifacts_changelog_and_tag(repository: Path) -> None:
    main("0.1.0")
    dist = repository / "dist"
    wheel, sbom, sdist = sorted(dist.iterdir())
    assert [path.name.removeprefix("hexapost-0.1.0") for path in (wheel, sbom, sdist)] == [
        "-py3-none-any.whl",
        ".cdx.json",
        ".tar.gz",
    ]
    assert "domain/__init__.py" in zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as files:
        project = files.extractfile("hexapost-0.1.0/pyproject.toml")
        assert project is not None
        assert b'\nversion = "0.1.0"\n' in project.read()
    packages = json.loads(sbom.read_text())
    assert (packages["bomFormat"], packages["metadata"]["component"]["version"]) == ("CycloneDX", "0.1.0")
    assert [(part["name"], part["version"]) for part in packages["components"]] == [("idna", "3.20")]

    date = datetime.now(UTC).date()
    expected = CHANGELOG.replace("[Unreleased]\n", f"[Unreleased]\n\n## [0.1.0] - {date}\n")
    assert git("show", "v0.1.0:CHANGELOG.md") == expected.strip()
    assert git("cat-file", "-t", "v0.1.0") == "tag"
    subjects = ["release: Begin version 0.2.0", "release: Publish version 0.1.0", "Start"]
    assert git("log", "--format=%s").splitlines() == subjects
    assert [project_version(reference) for reference in ("v0.1.0", "main")] == ["0.1.0", "0.2.0"]
    assert git("status", "--porcelain") == ""


@pytest.mark.usefixtures("without_build")
def test_each_release_follows_the_last_one(repository: Path) -> None:
    main("0.1.0")
    for refused in ("0.1.0", "0.0.9", "0.1.2", "0.3.0", "2.0.0", "1.2", "v0.2.0", "0.2.0rc1", "01.0.0", "", "0.2.0\n"):
        with pytest.raises(ReleaseError, match=r"the tag v0\.1\.0 exists|is 0\.1\.1 or 0\.2\.0 or 1\.0\.0|look like"):
            main(refused)
    with pytest.raises(ReleaseError, match="no entries under"):
        main("0.1.1")
    for version, following in (("0.1.1", "0.2.0"), ("0.2.0", "0.3.0"), ("1.0.0", "1.1.0")):
        text = (repository / "CHANGELOG.md").read_text()
        (repository / "CHANGELOG.md").write_text(text.replace("[Unreleased]\n", "[Unreleased]\n\n- A change.\n"))
        commit("Change")
        main(version)
        assert [project_version(reference) for reference in (f"v{version}", "main")] == [version, following]
    sections = re.findall(r"^## \[(.+?)\]", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections == ["Unreleased", "1.0.0", "0.2.0", "0.1.1", "0.1.0"]


@pytest.mark.usefixtures("repository")
def test_first_release_has_the_version_of_the_project() -> None:
    git("tag", "vacation")
    with pytest.raises(ReleaseError, match=r"after no release is 0\.1\.0, not 0\.2\.0"):
        main("0.2.0")


def test_release_needs_a_clean_main(repository: Path) -> None:
    for name in ("README.md", "new"):
        (repository / name).write_text("changed")
        with pytest.raises(ReleaseError, match="the working tree has changes"):
            main("0.1.0")
        git("stash", "--include-untracked")
    git("switch", "--quiet", "--create", "feature")
    with pytest.raises(ReleaseError, match="needs the branch main, not feature"):
        main("0.1.0")
    git("switch", "--quiet", "--detach", "main")
    with pytest.raises(ReleaseError, match="not a detached HEAD"):
        main("0.1.0")


@pytest.mark.usefixtures("without_build")
@pytest.mark.parametrize(
    ("previous", "refused", "permitted"), [("0.1.0", "0.1.1", "0.2.0"), ("1.0.0", "1.1.0", "2.0.0")]
)
def test_breaking_change_needs_a_version_that_permits_it(
    repository: Path, previous: str, refused: str, permitted: str
) -> None:
    git("tag", f"v{previous}")
    (repository / "openapi.json").write_text(json.dumps(OPENAPI | {"paths": {}}))
    commit("Remove the probe")
    with pytest.raises(ReleaseError, match=r"openapi\.json has breaking changes") as caught:
        main(refused)
    assert str(caught.value).splitlines()[1:] == ["  GET /livez was removed"]
    main(permitted)
    assert project_version(f"v{permitted}") == permitted


def test_failed_release_restores_the_files(repository: Path) -> None:
    (repository / "README.md").write_text("")  # twine requires a description
    commit("Remove the description")
    with pytest.raises(ReleaseError, match=r"twine check .* failed:\n"):
        main("0.1.0")
    assert (git("status", "--porcelain"), git("tag"), git("log", "-1", "--format=%s")) == (
        "",
        "",
        "Remove the description",
    )


def test_set_version_changes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("pyproject.toml", "openapi.json")
    for name in names:
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    set_version("9.8.7")
    changed = [(tmp_path / name).read_text("utf-8") for name in names]
    assert [text.count('"9.8.7"') for text in changed] == [1, 1]
    assert (
        list(
            breaking_changes(*(json.loads(path.read_text("utf-8")) for path in (ROOT / names[1], tmp_path / names[1])))
        )
        == []
    )
    set_version(version)
    assert [(tmp_path / name).read_text("utf-8") for name in names] == [
        (ROOT / name).read_text("utf-8") for name in names
    ]
