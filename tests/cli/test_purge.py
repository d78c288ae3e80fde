"""Tests for `hexapost purge`."""

from pathlib import Path

from sqlalchemy import URL

from tests.cli.conftest import Hexapost
from tests.cli.support import create_api_key, queried, rendered

INSERT = """
INSERT INTO idempotency_records (api_key_id, key_hash, fingerprint, response, created_at, expires_at)
SELECT id, sha256(n::text::bytea), sha256('f'), 'a', now() - interval '2 days', now() {} interval '1 day'
FROM api_keys, generate_series({}, {}) AS n
"""


def test_purge_deletes_and_counts_expired_records(hexapost: Hexapost, database: URL, tmp_path: Path) -> None:
    create_api_key(tmp_path / "key", DATABASE_URL=rendered(database))
    queried(database, INSERT.format("-", 1, 1001))
    queried(database, INSERT.format("+", 1002, 1003))
    for message in (
        "1001 expired idempotency records",
        "1 expired idempotency record",
        "0 expired idempotency records",
    ):
        if message == "1 expired idempotency record":
            queried(database, INSERT.format("-", 1, 1))
        outcome = hexapost("purge", DATABASE_URL=rendered(database))
        assert outcome.status == 0, outcome.stderr
        assert f"hexapost: deleted {message}" in outcome.stdout.splitlines()
        assert queried(database, "SELECT count(*) FROM idempotency_records") == [2]
    assert not (tmp_path / ".hexapost").exists()
