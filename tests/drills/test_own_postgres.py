"""The PostgreSQL that drills may harm: that it is harmed as they say, and that damage is found."""

import os
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from tests.drills.drill import DrillError
from tests.drills.faults.own_postgres import OwnPostgres, own_postgres
from tests.drills.faults.processes import memory_watched, resident_bytes
from tests.support.databases import connected


def _users(postgres: OwnPostgres) -> int:
    with connected(postgres.url()) as connection:
        (count,) = connection.execute("SELECT count(*) FROM users").fetchone() or (0,)
    return int(str(count))


def test_it_is_stopped_killed_and_frozen_and_comes_back(tmp_path: Path) -> None:
    with own_postgres(tmp_path) as postgres:
        for harm in (postgres.stop, postgres.crash, postgres.kill):
            harm()
            with pytest.raises(psycopg.OperationalError):
                _users(postgres)
            postgres.start()
            assert _users(postgres) == 0
        postgres.freeze()
        patience = postgres.url().update_query_dict({"connect_timeout": "2"})
        with pytest.raises(psycopg.OperationalError), connected(patience):
            pass
        postgres.thaw()
        assert _users(postgres) == 0
        assert all(check.passed for check in postgres.sound())


def test_damage_is_found(tmp_path: Path) -> None:
    with own_postgres(tmp_path) as postgres:
        with connected(postgres.url()) as connection:
            connection.execute("CREATE TABLE marred AS SELECT generate_series(1, 1000) AS number; CHECKPOINT")
            (path,) = connection.execute("SELECT pg_relation_filepath('marred')").fetchone() or ("",)
        postgres.stop()
        with (tmp_path / "postgres" / "data" / str(path)).open("r+b") as file:
            file.seek(4000)
            file.write(b"\0marred\0")
        postgres.start()
        with pytest.raises(DrillError, match="pg_checksums found"):
            postgres.sound()


def test_memory_is_watched() -> None:
    begun = monotonic()
    with memory_watched(os.getpid(), every=0.01) as found:
        while not found:
            assert monotonic() - begun < 30
    assert found[0][1] > 2**20
    assert resident_bytes(2**22 + 1) == 0
