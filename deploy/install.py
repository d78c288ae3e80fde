#!/usr/bin/env python3
"""Install a lock file into .venv, with progress on a terminal and errors of one or two lines.

`make` runs this before any package is installed, so it imports the standard library only.
"""

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

VENV = Path(".venv")
PYTHON = str(VENV / "bin/python")
PIP = [PYTHON, "-u", "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color"]
SITE_PACKAGES = Path(sysconfig.get_path("purelib", "venv", {"base": str(VENV)}))
LOG = VENV / "install.log"
PIN = re.compile(r"^[\w.-]+(?:\[.+?\])?==", re.MULTILINE)
POLL_SECONDS = 0.2
LINE_LENGTH = 60


class InstallationError(Exception):
    """Carry one line that reports a failure, and optionally a second line with the action to take."""


def main(lock: str, *options: str) -> None:
    """Install the packages of the lock and, with `--project`, the project itself."""
    create_venv()
    remove_incomplete_packages()
    # `--no-deps`: pip before 23.3 resolves `coverage[toml]` without the pin of `coverage`, and finds a newer release.
    install(lock, "--require-hashes", "--no-deps", "-r", lock, pins=len(PIN.findall(Path(lock).read_text())))
    if "--project" in options:
        install("the project", "--no-deps", "--no-build-isolation", "--editable", ".")
    check_dependencies(lock)


def create_venv() -> None:
    """Create .venv, unless a complete one for this version of Python exists."""
    if Path(PYTHON).exists() and any(SITE_PACKAGES.glob("pip-*.dist-info/RECORD")):
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not importlib.util.find_spec("ensurepip"):
        raise InstallationError(
            f"Python {version} has no ensurepip: install the package python{version}-venv, then run make again"
        )
    write(f"hexapost: creating .venv with Python {version}\n")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    created = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
    if created.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise InstallationError(f"cannot create .venv: {last_error(created.stdout)}")


def remove_incomplete_packages() -> None:
    """Remove metadata without RECORD: a killed pip leaves it, and the next pip takes the package for complete."""
    for metadata in SITE_PACKAGES.glob("*.dist-info"):
        if not (metadata / "RECORD").exists():
            shutil.rmtree(metadata)


def install(subject: str, *arguments: str, pins: int = 0) -> None:
    """Run `pip install`, with its output in the log and a counter for the pins of a lock."""
    write(f"hexapost: installing {subject}\n")
    command = [*PIP, "install", *arguments]
    terminations: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: terminations.append(number))
    with LOG.open("w") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as pip:  # noqa: S603
        wait(pip, pins, terminations)
    if pip.returncode:
        failure, action = explain(pip.returncode, read_log())
        raise InstallationError(f"cannot install {subject}: {failure}", f"{action} (details: {LOG})")


def explain(status: int, output: str) -> tuple[str, str]:
    """Return why pip failed and what to do."""
    if status < 0 or "Operation cancelled by user" in output:
        return "interrupted", "run make again to continue"
    connect = "connect to the network or set PIP_INDEX_URL to another index, then run make again"
    if "Retrying (Retry(total=0," in output:
        return "the package index does not answer", connect
    action = connect if "(from versions: none)" in output else "correct the cause, then run make again"
    return last_error(output), action


def wait(pip: subprocess.Popen[bytes], pins: int, terminations: list[int]) -> None:
    """Wait for the end of pip. Meanwhile count packages on a terminal, and end pip after a signal."""
    shows_progress = pins > 0 and sys.stdout.isatty()
    before = count_installed()
    while True:
        with suppress(subprocess.TimeoutExpired):
            pip.wait(POLL_SECONDS)
            break
        if terminations:
            pip.terminate()
        if shows_progress:
            write(f"\r{progress(read_log(), pins, count_installed() - before):<{LINE_LENGTH}}")
    if shows_progress:
        write(f"\r{'':<{LINE_LENGTH}}\r")


def progress(output: str, pins: int, installed: int) -> str:
    """Describe how far pip has come. Its output names the packages that it collects, but not those that it installs."""
    if selected := re.search("^Installing collected packages: (.+)", output, re.MULTILINE):
        return f"hexapost: {installed} of {selected[1].count(',') + 1} packages installed"
    ignored = len(re.findall("^Ignoring ", output, re.MULTILINE))
    collected = len(re.findall("^(?:Collecting|Processing|Requirement already satisfied:) ", output, re.MULTILINE))
    return f"hexapost: {collected} of {pins - ignored} packages collected"


def read_log() -> str:
    """Return the output of pip so far, which can end within a character."""
    return LOG.read_text(errors="replace")


def count_installed() -> int:
    """Return the number of installed packages."""
    return sum(1 for _ in SITE_PACKAGES.glob("*.dist-info"))


def check_dependencies(lock: str) -> None:
    """Verify what pip did not resolve: each installed package finds its dependencies in the lock."""
    checked = subprocess.run([*PIP, "check"], capture_output=True, text=True, check=False)  # noqa: S603
    if checked.returncode:
        raise InstallationError(
            f"{lock} is inconsistent: {last_error(checked.stdout + checked.stderr)}",
            "run make lock if pyproject.toml has changed; otherwise delete .venv and run make again",
        )


def last_error(output: str) -> str:
    """Return the last error of the output, with the line after a colon, or else the last line."""
    errors = re.findall(r"^error: (.+(?:(?<=:)\n.+)?)", output, re.IGNORECASE | re.MULTILINE)
    return " ".join(([*output.splitlines(), *errors] or ["no output"])[-1].split())


def write(text: str) -> None:
    """Write to standard output at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to pip too, and its end is reported
    try:
        main(*sys.argv[1:])
    except InstallationError as error:
        sys.exit("\n".join(f"hexapost: {line}" for line in error.args))
    except OSError as error:
        sys.exit(f"hexapost: cannot install {sys.argv[1]}: {error}")
