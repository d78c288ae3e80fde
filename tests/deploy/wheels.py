"""Fake wheels, and lock files with their hashes."""

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement

PIN = re.compile(r"^(\S+==.+?)(?: \\\n +--hash=\S+)+$", re.MULTILINE)
"""A requirement in a lock file, with its hashes."""


def read_pins(lock: str) -> list[Requirement]:
    """Return the requirements of a lock file that apply to this platform and version of Python."""
    requirements = [Requirement(pin[1]) for pin in PIN.finditer(lock)]
    return [requirement for requirement in requirements if not requirement.marker or requirement.marker.evaluate()]


def pinned_version(requirement: Requirement) -> str:
    """Return the version of a pin."""
    (specifier,) = requirement.specifier
    return specifier.version


def replace_hashes(lock: str, wheels: Mapping[str, Path]) -> str:
    """Return the lock file with the hash of the wheel for each package that has one."""

    def replace(pin: re.Match[str]) -> str:
        wheel = wheels.get(Requirement(pin[1]).name)
        return f"{pin[1]} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}" if wheel else pin[0]

    return PIN.sub(replace, lock)


def write_backend(directory: Path, version: str, project: Path, *, metadata: str = "") -> Path:
    """Write a wheel of hatchling that builds this wheel, with these further lines of metadata."""
    build = (
        f"import shutil\ndef build_editable(folder, *_): return shutil.copy({str(project)!r}, folder).split('/')[-1]\n"
    )
    return write_wheel(directory, "hatchling", version, metadata=metadata, build=build)


def write_wheel(directory: Path, name: str, version: str, *, metadata: str = "", **modules: str) -> Path:
    """Write a wheel with these further lines of metadata and these modules, and return its path."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        **{f"{name}/{module}.py": text for module, text in modules.items()},
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/RECORD": "",
    }
    path = directory / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return path
