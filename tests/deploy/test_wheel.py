"""Tests for the wheel: its content, and the commands of an installed one."""

import json
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from sqlalchemy import URL

from tests.cli import support
from tests.cli.support import PATIENCE, create_api_key, environment, queried, rendered, serving
from tests.deploy.checkouts import ROOT, create_venv

PACKAGES = ["adapters", "application", "domain", "migrations"]


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command outside the checkout and return its output. Fail if it does not exit with 0."""
    outcome = subprocess.run(  # noqa: S603 - our own command
        command,
        cwd=cwd,
        env=environment(PYTHONPATH="", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


def build(target: str, directory: Path, source: Path = ROOT) -> Path:
    """Build a wheel or an sdist without an isolated environment, which would need the network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=PATIENCE)  # noqa: S603 - our own command
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as content:
        (name,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(content.read(name).decode())


def test_wheel_contains_every_file_of_its_packages(wheel: Path) -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in files if path.parent.name != "__pycache__"}
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {f"{package}/py.typed" for package in PACKAGES} < expected
    assert [name for name in names if name.endswith("/licenses/LICENSE")] != []


def test_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path / "sdist")
    source = tmp_path / "source"
    source.mkdir()
    run("tar", "-xzf", sdist, "--strip-components", "1", cwd=source)
    assert build("wheel", tmp_path / "wheel", source).read_bytes() == wheel.read_bytes()
    assert not any((source / name).exists() for name in (".venv", ".hexapost", ".git", "dist", "report"))


def test_wheel_metadata_names_license_links_and_systems(metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert {"Homepage", "Documentation"} <= {url.split(",")[0] for url in metadata.get_all("Project-URL", [])}
    classifiers = metadata.get_all("Classifier", [])
    assert {"Typing :: Typed", "Operating System :: POSIX :: Linux", "Operating System :: MacOS"} <= set(classifiers)


@pytest.mark.parametrize(("system", "is_required"), [("linux", True), ("darwin", True), ("win32", False)])
def test_uvloop_is_required_where_it_exists(metadata: Message, system: str, is_required: bool) -> None:
    lines = [(ROOT / lock).read_text().split("\nuvloop", 1)[1] for lock in ("requirements.txt", "requirements-dev.txt")]
    pins = [f"uvloop{line.split(chr(92))[0]}" for line in lines]
    (declared,) = [value for value in metadata.get_all("Requires-Dist", []) if value.startswith("uvloop")]
    for requirement in map(Requirement, [declared, *pins]):
        assert requirement.marker is not None
        assert requirement.marker.evaluate({"sys_platform": system}) == is_required


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the wheel. It sees the packages of the current environment."""
    directory = tmp_path_factory.mktemp("installed")
    packages = create_venv(directory)
    inherited = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "inherited.pth").write_text("\n".join(sorted(inherited)))
    programs = directory / ".venv/bin"
    run(programs / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=directory)
    return programs


def test_installed_wheel_migrates_and_serves(
    installed: Path, empty: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(installed / "python", "-c", "import adapters; print(adapters.__file__)", cwd=tmp_path)
    assert found.startswith(str(installed.parent))
    check_service([str(installed / "hexapost")], empty, tmp_path, monkeypatch)


def check_service(command: list[str], url: URL, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrate the empty database and serve it with two workers, outside the checkout."""
    assert "hexapost " in run(*command, "--version", cwd=directory)  # uv installs the packages
    monkeypatch.setattr(support, "COMMAND", command)
    variables = {"DATABASE_URL": rendered(url), "PYTHONPATH": ""}
    with serving(directory, "--migrate", "--workers", "2", **variables) as served:
        assert json.load(served.get("/readyz"))["status"] == "ready"
        key = create_api_key(directory, DATABASE_URL=rendered(url))
        assert served.get("/api/v1/users", method="POST", body=b'{"email": "ada@example.org"}', key=key).status == 201
        assert served.stop(signal.SIGTERM) == 0
    assert queried(url, "SELECT email FROM users") == ["ada@example.org"]


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install uv from PyPI."""
    directory = tmp_path_factory.mktemp("uv")
    create_venv(directory)
    run(directory / ".venv/bin/python", "-m", "pip", "install", "uv", cwd=directory)
    return directory / ".venv/bin/uv"


@pytest.mark.drill
def test_uvx_migrates_and_serves(
    uv: Path, wheel: Path, empty: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_service([str(uv), "tool", "run", "--from", str(wheel), "hexapost"], empty, tmp_path, monkeypatch)


@pytest.mark.drill
def test_uv_run_migrates_and_serves(uv: Path, empty: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "check out"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "__pycache__", "report"))
    check_service([str(uv), "run", "--project", str(checkout), "hexapost"], empty, tmp_path, monkeypatch)
