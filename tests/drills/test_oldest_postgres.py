"""Test for the oldest supported PostgreSQL."""

import subprocess
import sys
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgres, embedded_postgres
from adapters.embedded.binaries import PostgresInstallation
from adapters.postgres.schema.state import SUPPORTED_VERSIONS
from adapters.testing.template_databases import FAST
from tests.cli.support import ROOT, environment

OLDEST = SUPPORTED_VERSIONS[0]
DEBIAN = Path(f"/usr/lib/postgresql/{OLDEST}/bin")


@pytest.mark.skipif(not (DEBIAN / "initdb").exists(), reason=f"{DEBIAN} is missing: apt install postgresql-{OLDEST}")
def test_contract_holds_on_the_oldest_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "find_installation", lambda: PostgresInstallation(DEBIAN, f"{OLDEST}"))
    with EmbeddedPostgres(tmp_path / "postgres", report=lambda _: None, settings=FAST) as server:
        done = subprocess.run(  # noqa: S603 - our own tests
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n2", "-k", "not memory"),
                *("--postgres", server.url(driver=None), "tests/contract"),
            ],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-10_000:]
