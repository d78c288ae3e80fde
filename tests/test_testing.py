"""Tests for the pytest fixtures and for overridden providers, with the examples in docs/extending.md."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import NAME, PREFIX, Databases, connected
from tests.cli.support import PATIENCE, create_api_key, environment, rendered

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.+?)```", (ROOT / "docs/extending.md").read_text("utf-8"), re.DOTALL)
CONFTEST, TESTS, IN_MEMORY, OWN_CLOCK, OWN_STORAGE = EXAMPLES

RECORD_DATABASE = """
from pathlib import Path

from adapters.testing.template_databases import connected

def test_database_has_own_name(hexapost_database_url):
    Path("name").write_text(hexapost_database_url.database)

def test_databases_of_other_tests_are_dropped(hexapost_databases, hexapost_database_url):
    run, _, _ = hexapost_database_url.database.rpartition("_")
    with connected(hexapost_databases.url) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [run])
        assert found.fetchall() == [(hexapost_database_url.database,)]
"""


def _run_pytest(directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a directory without the configuration and the plugins of this project."""
    options = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error"
    (directory / "pytest.ini").write_text(f"[pytest]\n{options}\n")
    (directory / "conftest.py").write_text(CONFTEST)
    arguments = [
        "-q",
        "-p",
        "pytest_asyncio.plugin",
        "-p",
        "no:cacheprovider",
        "-c",
        "pytest.ini",
        "--rootdir",
        str(ROOT),
    ]
    clean = environment(**variables, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    return subprocess.run(  # noqa: S603 - a tool of the project
        [sys.executable, "-m", "pytest", *arguments, "."],
        cwd=directory,
        env={name: value for name, value in clean.items() if not name.startswith(("PYTEST_XDIST", "PYTEST_ADDOPTS"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("server", ["embedded", "DATABASE_URL"])
def test_fixtures_give_each_test_an_empty_database(server: str, tmp_path: Path, databases: Databases) -> None:
    (tmp_path / "test_service.py").write_text(TESTS)
    (tmp_path / "test_clock.py").write_text(OWN_CLOCK)
    (tmp_path / "test_database.py").write_text(RECORD_DATABASE)
    done = _run_pytest(tmp_path, **({} if server == "embedded" else {"DATABASE_URL": rendered(databases.url)}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    name = (tmp_path / "name").read_text()
    found = NAME.fullmatch(name)
    assert found
    with connected(databases.url) as connection:  # both are the same server, unless --postgres is given
        left = connection.execute("SELECT FROM pg_database WHERE starts_with(datname, %s)", [PREFIX + found[1]])
        assert left.fetchone() is None


def test_fixtures_use_storage_in_memory_without_database(tmp_path: Path) -> None:
    readiness = "async def test_ready(hexapost_client):\n    assert (await hexapost_client.get('/readyz')).is_success\n"
    (tmp_path / "test_service.py").write_text(f"{IN_MEMORY}\n{TESTS}\n{readiness}")
    (tmp_path / "test_clock.py").write_text(f"{OWN_CLOCK}\n{IN_MEMORY}")
    done = _run_pytest(tmp_path, DATABASE_URL="postgresql://nowhere.invalid/x")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.usefixtures("restored_logs")
async def test_own_factory_uses_overridden_storage(
    scratch: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", rendered(scratch))
    key = create_api_key(tmp_path, DATABASE_URL=rendered(scratch))
    names: dict[str, Any] = {}
    exec(OWN_STORAGE, names)  # noqa: S102 - our own documentation
    app = names["create_app"]()
    transport, headers = httpx.ASGITransport(app), {"Authorization": f"Bearer {key}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client,
    ):
        before = names["CountingStorage"].transactions
        response = await client.post("/api/v1/users", json={"email": "ada@example.org"})
        assert response.status_code == 201
        assert names["CountingStorage"].transactions > before
