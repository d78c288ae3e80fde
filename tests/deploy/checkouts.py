"""Copies of the files that `make` needs to install the locks, with a local package index."""

import ensurepip
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUNDLED_PIP = ensurepip.version()
RUN_SETUP, DEV_SETUP = ".venv/.installed", ".venv/.installed-dev"


def copy_checkout(directory: Path, locks: Mapping[str, str]) -> Path:
    """Copy the files that the installation reads, with these lock files."""
    (directory / "deploy").mkdir(parents=True)
    for file in ("Makefile", "pyproject.toml", "deploy/install.py"):
        shutil.copy(ROOT / file, directory / file)
    for name, text in locks.items():
        (directory / name).write_text(text)
    return directory


def make(
    checkout: Path, *arguments: str, user: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run make without network, index, cache or configuration of pip."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "PYTHON"))}
    isolated = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    return subprocess.run(  # noqa: S603 - make on a copy of this project
        ["make", f"PYTHON={sys.executable}", *arguments],  # noqa: S607
        cwd=checkout,
        user=user,
        env=inherited | isolated | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def create_venv(checkout: Path, pip: str = BUNDLED_PIP) -> Path:
    """Create .venv with that version of pip, and return its site-packages. `ensurepip` takes 4.7 s of CPU for this."""
    venv.EnvBuilder(symlinks=True).create(checkout / ".venv")
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(checkout / ".venv")}))
    if pip == BUNDLED_PIP:
        folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(ensurepip.__file__).parent / "_bundled"
        (wheel,) = Path(folder).glob(f"pip-{pip}-*.whl")
        zipfile.ZipFile(wheel).extractall(packages)
    else:
        for name in ("pip", f"pip-{pip}.dist-info"):
            shutil.copytree(str(distribution("pip").locate_file(name)), packages / name)
    return packages
