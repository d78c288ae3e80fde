"""The lock files, installed from a local index that has a newer release of each package."""

from functools import cache
from importlib.metadata import distribution, distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deploy.checkouts import BUNDLED_PIP, DEV_SETUP, ROOT, RUN_SETUP, copy_checkout, create_venv, make
from tests.deploy.wheels import pinned_version, read_pins, replace_hashes, write_backend, write_wheel

LOCKS = {name: (ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt")}


def read_metadata(name: str) -> str:
    """Return the dependencies and extras of an installed package, as lines of its metadata."""
    metadata = distribution(name).metadata
    return "".join(
        f"{header}: {value}\n"
        for header in ("Requires-Dist", "Provides-Extra")
        for value in metadata.get_all(header, ())
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a wheel for each pin; beside it is a newer release. Both have the dependencies of the real package."""
    directory = tmp_path_factory.mktemp("index")
    project = write_wheel(tmp_path_factory.mktemp("project"), "hexapost", "0.1.0", metadata=read_metadata("hexapost"))
    wheels = {}
    for pin in read_pins(LOCKS["requirements-dev.txt"]):
        version, metadata = pinned_version(pin), read_metadata(pin.name)
        folder = directory / canonicalize_name(pin.name)
        folder.mkdir()
        if pin.name == "hatchling":
            wheels[pin.name] = write_backend(folder, version, project, metadata=metadata)
        else:
            wheels[pin.name] = write_wheel(folder, pin.name, version, metadata=metadata)
        newer = write_wheel(folder, pin.name, f"{Version(version).base_version}.99", metadata=metadata)
        links = [f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in (wheels[pin.name], newer)]
        (folder / "index.html").write_text("<!DOCTYPE html>" + "".join(links))
    return wheels


@cache
def dependencies(name: str, *extras: str) -> frozenset[str]:
    """Return the packages that an installed package requires with these extras, on this platform."""
    found: set[str] = set()
    for requirement in map(Requirement, requires(name) or ()):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in ("", *extras)):
            found |= {canonicalize_name(requirement.name)} | dependencies(requirement.name, *sorted(requirement.extras))
    return frozenset(found)


def installed(packages: Path) -> dict[str, str]:
    """Return the version of each installed package, without pip and the project."""
    found = {canonicalize_name(package.name): package.version for package in distributions(path=[str(packages)])}
    return {name: version for name, version in found.items() if name not in {"pip", "hexapost"}}


@pytest.mark.parametrize("pip", sorted({BUNDLED_PIP, distribution("pip").version}))
def test_locks_install_their_pins_when_newer_releases_exist(index: dict[str, Path], tmp_path: Path, pip: str) -> None:
    checkout = copy_checkout(
        tmp_path / "a checkout", {name: replace_hashes(text, index) for name, text in LOCKS.items()}
    )
    packages = create_venv(checkout, pip)
    url = next(iter(index.values())).parents[1].as_uri()
    for target, lock in ((RUN_SETUP, "requirements.txt"), (DEV_SETUP, "requirements-dev.txt")):
        done = make(checkout, target, PIP_INDEX_URL=url)
        assert done.returncode == 0, done.stderr
        assert installed(packages) == {pin.name: pinned_version(pin) for pin in read_pins(LOCKS[lock])}
    (checkout / "requirements.txt").touch()
    assert "requirements-dev.txt --project" in make(checkout, "--dry-run", RUN_SETUP).stdout


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        ("requirements.txt", dependencies("hexapost", "embedded", "tracing")),
        ("requirements-image.txt", dependencies("hexapost", "tracing")),
        ("deploy/image/requirements-build.txt", {"hatchling"} | dependencies("hatchling")),
    ],
)
def test_lock_has_exactly_the_required_packages(lock: str, expected: frozenset[str]) -> None:
    pins = {pin.name: str(pin) for pin in read_pins((ROOT / lock).read_text())}
    assert pins.keys() == expected
    assert pins.items() <= {pin.name: str(pin) for pin in read_pins(LOCKS["requirements-dev.txt"])}.items()
