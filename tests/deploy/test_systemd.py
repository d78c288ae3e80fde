"""Tests for the systemd units: systemd's own checks, and values that depend on each other."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretBytes

from adapters.server.supervisor import MAX_START_FAILURES
from adapters.server.worker_process import KILL_TIMEOUT_SECONDS, START_TIMEOUT_SECONDS, STOP_TIMEOUT_SECONDS
from adapters.settings import DATABASE_URL, Settings, load_settings, variable
from tests.deploy.checkouts import ROOT

SYSTEMD = ROOT / "deploy/systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
SERVICE, MIGRATE, CONTRACT = (SYSTEMD / f"hexapost{name}.service" for name in ("", "-migrate", "-contract"))
HEXAPOST = "/opt/hexapost/bin/hexapost"
SECRETS = {DATABASE_URL} | {
    variable(name) for name, field in Settings.model_fields.items() if SecretBytes.__name__ in repr(field)
}
"""The variables of the secret settings."""

MAX_EXPOSURE = 20
"""In tenths. `systemd-analyze security` reports 1.2 for the units."""


def entries(unit: Path) -> list[tuple[str, str]]:
    """Return the names and values of a unit in their order."""
    lines = [line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def values(unit: Path, name: str) -> list[str]:
    """Return the values of all entries with a name."""
    return [value for found, value in entries(unit) if found == name]


def hardening(unit: Path) -> list[tuple[str, str]]:
    """Return the entries from `DynamicUser` to the end of the section."""
    found = entries(unit)
    start = found.index(("DynamicUser", "yes"))
    return found[start : found.index(("UMask", "0077")) + 1]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command


def systemd_version() -> int:
    """Return the version of systemd-analyze, 0 if it is not installed."""
    if shutil.which("systemd-analyze") is None:
        return 0
    return int(analyze("--version").stdout.split()[1])


needs_systemd = pytest.mark.skipif(systemd_version() < 250, reason="systemd-analyze 250 or newer is not installed")


def verify(unit: Path, directory: Path, old: str = "", new: str = "") -> str:
    """Return the warnings for copies of the units, whose program exists, after a replacement in this one."""
    for path in UNITS:
        text = path.read_text().replace(HEXAPOST, "/bin/sh")
        (directory / path.name).write_text(text.replace(old, new) if path == unit else text)
    found = analyze("verify", "--man=no", directory / unit.name)
    return "\n".join(line for line in found.stderr.splitlines() if "hexapost" in line)  # not other units of the system


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_has_no_warnings(unit: Path, tmp_path: Path) -> None:
    assert verify(unit, tmp_path) == ""


@needs_systemd
def test_unit_with_unknown_entry_has_a_warning(tmp_path: Path) -> None:
    assert "'ProtectClocks'" in verify(SERVICE, tmp_path, "ProtectClock=", "ProtectClocks=")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_has_low_exposure(unit: Path, tmp_path: Path) -> None:
    security = ("security", "--offline=true", f"--threshold={MAX_EXPOSURE}")
    found = analyze(*security, unit)
    assert (found.returncode, found.stderr) == (0, "")
    exposed = tmp_path / unit.name
    exposed.write_text(unit.read_text().replace("SystemCallFilter=", "#"))
    assert analyze(*security, exposed).returncode == 1


def test_units_have_the_same_hardening() -> None:
    assert hardening(MIGRATE) == hardening(CONTRACT) == hardening(SERVICE)
    assert len(hardening(SERVICE)) > 25


def test_units_run_the_installed_command() -> None:
    assert {unit.name: values(unit, "ExecStart") for unit in UNITS} == {
        "hexapost.service": [f"{HEXAPOST} serve"],
        "hexapost-migrate.service": [f"{HEXAPOST} migrate"],
        "hexapost-contract.service": [f"{HEXAPOST} migrate --phase contract"],
    }
    assert values(MIGRATE, "Before") == [SERVICE.name]


def test_service_has_time_to_start_and_to_stop() -> None:
    (start,), (stop,) = values(SERVICE, "TimeoutStartSec"), values(SERVICE, "TimeoutStopSec")
    assert int(start) > MAX_START_FAILURES * START_TIMEOUT_SECONDS
    assert int(stop) > STOP_TIMEOUT_SECONDS + KILL_TIMEOUT_SECONDS


def test_credentials_are_the_secret_settings() -> None:
    assert len(SECRETS) >= 3
    assert {value.partition(":")[0] for value in values(SERVICE, "LoadCredential")} == SECRETS
    assert [value.partition(":")[0] for value in values(MIGRATE, "LoadCredential")] == [DATABASE_URL]
    for unit in UNITS:
        assert values(unit, "Environment") == [f"{variable('secrets_directory')}=%d"]


def test_environment_file_has_valid_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # without .env
    for name, value in entries(SYSTEMD / "hexapost.env"):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.workers >= 2, "a reload needs two workers"
