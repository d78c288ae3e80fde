"""Errors and progress of the installation, as `make` reports them."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from deploy.install import LOG, InstallationError, create_venv, install, last_error, progress
from tests.deploy.checkouts import RUN_SETUP, copy_checkout, make
from tests.deploy.checkouts import create_venv as create_venv_without_ensurepip
from tests.deploy.wheels import replace_hashes, write_backend, write_wheel

NOBODY = 65534
CONNECT = f"connect to the network or set PIP_INDEX_URL to another index, then run make again (details: {LOG})"
NO_ENSUREPIP = """
import runpy, sys
sys.modules["ensurepip"] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write_script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def write_lock(checkout: Path, *wheels: Path) -> None:
    """Lock these wheels, in names and versions of their files."""
    names = {wheel.name.split("-")[0]: wheel for wheel in wheels}
    lock = "".join(f"{name}=={wheel.name.split('-')[1]} \\\n    --hash=sha256:0\n" for name, wheel in names.items())
    (checkout / "requirements.txt").write_text(replace_hashes(lock, names))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout with .venv, whose pip is compiled once."""
    checkout = copy_checkout(tmp_path_factory.mktemp("template") / "checkout", {"requirements.txt": ""})
    create_venv_without_ensurepip(checkout)
    return checkout


@pytest.fixture
def checkout(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "checkout", symlinks=True)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a checkout without .venv."""
    return copy_checkout(tmp_path / "checkout", {"requirements.txt": ""})


def failure(checkout: Path, *arguments: str, **environment: Any) -> list[str]:
    """Run a `make` that fails, and return its error lines except the last one, which make adds."""
    done = make(checkout, RUN_SETUP, *arguments, **environment)
    assert done.returncode
    *lines, last = done.stderr.splitlines()
    assert last.startswith("make: *** ")
    return lines


def test_old_python_is_refused(bare: Path) -> None:
    old = write_script(
        bare / "python", f"exec '{sys.executable}' -c \"import sys; sys.version_info = (3, 10, 13); $2\""
    )
    (line,) = failure(bare, f"PYTHON={old}")
    assert line.startswith("hexapost: Python 3.11 or newer is required, not 3.10")


def test_missing_ensurepip_is_reported_and_leaves_no_venv(bare: Path) -> None:
    run = f'[ "$1" = -c ] || set -- -c \'{NO_ENSUREPIP}\' "$@"\nexec \'{sys.executable}\' "$@"'
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (line,) = failure(bare, f"PYTHON={write_script(bare / 'python', run)}")
    assert (
        line
        == f"hexapost: Python {version} has no ensurepip: install the package python{version}-venv, then run make again"
    )
    assert not (bare / ".venv").exists()


def test_failed_venv_is_removed(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bare)
    broken = write_script(bare / "python", "mkdir .venv; echo 'Error: no space left'; exit 1")
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(InstallationError, match="no space left"):
        create_venv()
    assert not (bare / ".venv").exists()


@pytest.mark.parametrize("target", [RUN_SETUP, "writable"])
def test_read_only_checkout_is_reported(target: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        checkout = copy_checkout(Path(directory), {"requirements.txt": ""})
        checkout.chmod(0o555)
        done = make(checkout, target, user=None if os.getuid() else NOBODY)
        checkout.chmod(0o755)
    line, _ = done.stderr.splitlines()
    assert line == f"hexapost: cannot write to {checkout}. Copy it to a writable directory."


def test_unreachable_index_is_reported(checkout: Path) -> None:
    write_lock(checkout, write_wheel(checkout, "alpha", "1"))
    assert failure(checkout, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="1") == [
        "hexapost: cannot install requirements.txt: the package index does not answer",
        f"hexapost: {CONNECT}",
    ]


def test_missing_release_is_reported(checkout: Path) -> None:
    write_lock(checkout, write_wheel(checkout, "alpha", "1"))
    what, action = failure(checkout, PIP_NO_INDEX="1")
    assert what == "hexapost: cannot install requirements.txt: No matching distribution found for alpha==1"
    assert action == f"hexapost: {CONNECT}"


def test_changed_release_is_reported(checkout: Path) -> None:
    alpha = write_wheel(checkout, "alpha", "1")
    write_lock(checkout, alpha)
    write_wheel(checkout, "alpha", "1", metadata="Summary: another file\n")
    what, action = failure(checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS=checkout.as_uri())
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in what
    assert action == f"hexapost: correct the cause, then run make again (details: {LOG})"
    assert "Got " in (checkout / LOG).read_text()


def test_dependency_outside_the_lock_is_reported(checkout: Path) -> None:
    """pip neither resolves the lock, which fails with each version of pip here, nor ignores a missing dependency."""
    project = write_wheel(checkout, "hexapost", "0.1.0")
    backend = write_backend(checkout, "1", project, metadata="Requires-Dist: beta\n")
    write_wheel(checkout, "beta", "1")
    write_lock(checkout, backend)
    assert failure(checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS=checkout.as_uri()) == [
        "hexapost: requirements.txt is inconsistent: hatchling 1 requires beta, which is not installed.",
        "hexapost: run make lock if pyproject.toml has changed; otherwise delete .venv and run make again",
    ]


def test_interrupted_installation_is_completed_quietly(checkout: Path) -> None:
    project = write_wheel(checkout, "hexapost", "0.1.0")
    backend = write_backend(checkout, "1", project)
    write_lock(checkout, backend)
    (packages,) = (checkout / ".venv").glob("lib/python*/site-packages")
    killed = packages / "hatchling-1.dist-info"
    killed.mkdir()
    (killed / "METADATA").write_text("Metadata-Version: 2.1\nName: hatchling\nVersion: 1\n")
    done = make(checkout, RUN_SETUP, PIP_NO_INDEX="1", PIP_FIND_LINKS=checkout.as_uri())
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "hexapost: installing requirements.txt\nhexapost: installing the project\n"
    assert (packages / "hatchling/build.py").exists()
    assert make(checkout, RUN_SETUP).stdout == f"make: '{RUN_SETUP}' is up to date.\n"


@pytest.fixture
def waiting_pip(checkout: Path) -> Path:
    """Replace pip by a script that collects one of two packages, and reads this FIFO."""
    fifo = checkout / "fifo"
    os.mkfifo(fifo)
    (checkout / ".venv/bin/python").unlink()
    write_script(checkout / ".venv/bin/python", "echo Collecting alpha; exec cat fifo")
    (checkout / "requirements.txt").write_text("alpha==1 --hash=sha256:0\nbeta==1 --hash=sha256:0\n")
    return fifo


class Terminal(io.StringIO):
    """A terminal that ends the waiting pip after it shows progress."""

    def __init__(self, fifo: Path) -> None:
        super().__init__()
        self.fifo = fifo

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "hexapost: 1 of 2 packages collected" in text:
            self.fifo.open("w").close()
        return super().write(text)


def test_terminal_shows_progress(checkout: Path, waiting_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    terminal = Terminal(waiting_pip)
    monkeypatch.setattr(sys, "stdout", terminal)
    install("requirements.txt", pins=2)
    first, *updates = terminal.getvalue().split("\r")
    assert first == "hexapost: installing requirements.txt\n"
    assert {update.strip() for update in updates} == {"hexapost: 1 of 2 packages collected", ""}


def test_termination_ends_pip(checkout: Path, waiting_pip: Path) -> None:
    command = [sys.executable, "deploy/install.py", "requirements.txt"]
    with (
        subprocess.Popen(command, cwd=checkout, stderr=subprocess.PIPE, text=True) as installation,  # noqa: S603
        waiting_pip.open("wb", buffering=0) as pip,  # waits until pip reads it
    ):
        installation.terminate()
        _, errors = installation.communicate()
        assert errors.splitlines() == [
            "hexapost: cannot install requirements.txt: interrupted",
            f"hexapost: run make again to continue (details: {LOG})",
        ]
        with pytest.raises(BrokenPipeError):
            pip.write(b"more")


def test_progress_counts_what_applies_to_this_platform() -> None:
    output = "Ignoring colorama: markers\nCollecting a==1\nProcessing ./b.whl\nRequirement already satisfied: c==1\n"
    assert progress(output, pins=5, installed=0) == "hexapost: 3 of 4 packages collected"
    assert progress(f"{output}Installing collected packages: a, b\n", pins=5, installed=1) == (
        "hexapost: 1 of 2 packages installed"
    )


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("", "no output"),
        ("Traceback:\nMemoryError\n", "MemoryError"),
        ("ERROR: first\nERROR: second\nnotice\n", "second"),
        ("Error: unpinned:\n    alpha>=1 (from beta)\nmore\n", "unpinned: alpha>=1 (from beta)"),
    ],
)
def test_last_error_is_one_line(output: str, error: str) -> None:
    assert last_error(output) == error
