"""Tests for `hexapost serve --reload`, on a copy of the packages."""

import json
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

from sqlalchemy import URL

from tests.cli.conftest import Hexapost
from tests.cli.support import ROOT, Served, create_api_key, rendered, serving, wait_until

PACKAGES = ("domain", "application", "adapters", "migrations")


def _title(served: Served) -> str | None:
    """Return the title in the OpenAPI document, None while the service restarts."""
    with suppress(URLError, ConnectionError):
        return str(json.load(served.get("/openapi.json"))["info"]["title"])
    return None


def test_reload_serves_changed_code(tmp_path: Path, scratch: URL) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    key = create_api_key(tmp_path, DATABASE_URL=rendered(scratch))
    with serving(tmp_path, "--reload", DATABASE_URL=rendered(scratch), PYTHONPATH=str(tmp_path)) as served:
        assert _title(served) == "Hexapost"
        assert served.get("/api/v1/users", key=key).status == 200
        module = tmp_path / "adapters/http/openapi/document.py"
        module.write_text(module.read_text().replace('title="Hexapost"', 'title="Changed"'))
        wait_until(lambda: _title(served) == "Changed")
        assert served.stop(signal.SIGTERM) == 0
    assert "Traceback" not in served.output


def test_reload_rejects_several_workers(hexapost: Hexapost) -> None:
    outcome = hexapost("serve", "--reload", "--workers", "2", DATABASE_URL="postgresql://nowhere/x")
    assert outcome.status == 2
    assert outcome.stderr == (
        "hexapost: Invalid value for '--reload': serves in one process. Remove --workers and HEXAPOST_WORKERS.\n"
    )
