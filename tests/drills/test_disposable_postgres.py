"""Tests for the disposable PostgreSQL of drills."""

import os
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from adapters.testing.template_databases import connected
from tests.drills.faults.disposable_postgres import DisposablePostgres, disposable_postgres
from tests.drills.faults.processes import memory_watched, resident_bytes
from tests.drills.scenario import ScenarioError


def _users(postgres: DisposablePostgres) -> int:
    with connected(postgres.url()) as connection:
        (count,) = connection.execute("SELECT count(*) FROM users").fetchone() or (0,)
    return int(str(count))


def test_disposable_postgres_stops_and_finds_damage(tmp_path: Path) -> None:
    with disposable_postgres(tmp_path) as postgres:
        for harm in (postgres.stop, postgres.crash, postgres.kill):
            harm()
            with pytest.raises(psycopg.OperationalError):
                _users(postgres)
            postgres.start()
            assert _users(postgres) == 0
        postgres.freeze()
        impatient = postgres.url().update_query_dict({"connect_timeout": "2"})
        with pytest.raises(psycopg.OperationalError), connected(impatient):
            pass
        postgres.thaw()
        with connected(postgres.url()) as connection:
            connection.execute("CREATE TABLE marred AS SELECT generate_series(1, 1000) AS number; CHECKPOINT")
            (path,) = connection.execute("SELECT pg_relation_filepath('marred')").fetchone() or ("",)
        assert all(check.passed for check in postgres.verify_integrity())
        with (tmp_path / "postgres" / "data" / str(path)).open("r+b") as file:
            file.seek(4000)
            file.write(b"\0marred\0")
        postgres.start()
        with pytest.raises(ScenarioError, match="pg_checksums found"):
            postgres.verify_integrity()


def test_memory_watch_records_resident_bytes() -> None:
    begun = monotonic()
    with memory_watched(os.getpid(), every=0.01) as found:
        while not found:
            assert monotonic() - begun < 30
    assert found[0][1] > 2**20
    assert resident_bytes(2**22 + 1) == 0
