"""Tests for the supported operating systems."""

import subprocess
import sys
from importlib import reload
from pathlib import Path

import pytest

import adapters
from tests.cli.support import PATIENCE, environment


@pytest.mark.parametrize("system", ["win32", "cygwin", "freebsd14"])
def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(SystemExit, match=r"^Hexapost runs on Linux and macOS\.$"):
        reload(adapters)


@pytest.mark.parametrize("module", ["adapters.cli.main", "adapters.asgi", "adapters.testing"])
def test_entry_point_refuses_other_systems_in_one_line(tmp_path: Path, module: str) -> None:
    code = f"import sys; sys.platform = 'win32'; import {module}"
    outcome = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (1, "", "Hexapost runs on Linux and macOS.\n")
