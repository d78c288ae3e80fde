"""`hexapost purge` over a real database, and the service that does the same by itself."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.cli.conftest import Hexapost
from tests.cli.support import a_key, queried, rendered, serving, wait_until

ADD = """
INSERT INTO outcomes (key_id, name, fingerprint, answer, created_at, expires_at)
SELECT id, sha256(n::text::bytea), sha256('f'), 'a', now() - interval '2 days', now() {} interval '1 day'
FROM api_keys, generate_series({}, {}) AS n RETURNING 1
"""


@pytest.fixture
def filled(tmp_path: Path, scratch: URL) -> URL:
    """A database with 1001 outcomes that have expired, and two that have not."""
    a_key(tmp_path, DATABASE_URL=rendered(scratch))
    queried(scratch, ADD.format("-", 1, 1001))
    queried(scratch, ADD.format("+", 1002, 1003))
    return scratch


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_what_has_expired_is_removed_and_counted(hexapost: Hexapost, filled: URL, driver: str, tmp_path: Path) -> None:
    url = rendered(filled.set(drivername=f"postgresql+{driver}"))
    for removed in ("1001 expired outcomes", "0 expired outcomes"):
        outcome = hexapost("purge", DATABASE_URL=url, HEXAPOST_STATE_DIRECTORY=str(tmp_path / "other"))
        assert outcome.status == 0, outcome.stderr
        assert f"hexapost: removed {removed} of requests" in outcome.stdout.splitlines()
        assert queried(filled, "SELECT count(*) FROM outcomes") == [2]
    assert not (tmp_path / "other").exists()


def test_one_is_one(hexapost: Hexapost, filled: URL) -> None:
    queried(filled, "DELETE FROM outcomes WHERE expires_at < now() RETURNING 1")
    queried(filled, ADD.format("-", 1, 1))
    assert "removed 1 expired outcome of requests" in hexapost("purge", DATABASE_URL=rendered(filled)).stdout


def test_the_service_does_it_from_time_to_time(tmp_path: Path, filled: URL) -> None:
    with serving(tmp_path, DATABASE_URL=rendered(filled), HEXAPOST_PURGE_INTERVAL_SECONDS="1") as served:
        served.base_url()
        wait_until(lambda: queried(filled, "SELECT count(*) FROM outcomes") == [2])
        queried(filled, ADD.format("-", 1, 3))
        wait_until(lambda: queried(filled, "SELECT count(*) FROM outcomes") == [2])
