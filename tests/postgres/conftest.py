"""What the tests of the PostgreSQL adapter share."""

import pytest

from tests.support.probes import Probe
from tests.support.stores import Store

FAIL = """
    CREATE OR REPLACE FUNCTION fail(state text) RETURNS integer LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'secret of the database' USING ERRCODE = state; END $$
"""


@pytest.fixture
def probe(store: Store) -> Probe:
    """Use cases in a database that has the function `fail(sqlstate)`."""
    store.admin.execute(FAIL)
    return Probe(store.storage)
