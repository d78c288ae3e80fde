"""Tests for port errors: their texts contain no text of the database."""

import pytest

from application.ports import StorageUnavailableError
from tests.postgres.failures import EXPECTED, KNOWN, ONCE, OTHER, Failure
from tests.support.factories import store
from tests.support.use_case_runner import UseCaseRunner, fetch

SECRETS = ["secret", "zo", "users", "posts", "uq_", "fk_", "duplicate", "violates", "INSERT", "SELECT", "hexapost", "/"]
FAILURES: list[Failure] = [
    *EXPECTED.values(),
    (lambda work: fetch(work, "SELECT fail('57P01')"), StorageUnavailableError),
]


@pytest.mark.parametrize("failure", FAILURES, ids=[*EXPECTED, "SQLSTATE"])
async def test_port_errors_hide_database_messages(probe: UseCaseRunner, failure: Failure) -> None:
    body, kind = failure
    await store(probe.storage, KNOWN, OTHER)
    probe.retry = ONCE
    with pytest.raises(kind) as raised:
        await probe.change(body)
    error = raised.value
    text = f"{error} {error!r} {error.args}".lower()
    assert [secret for secret in SECRETS if secret.lower() in text] == []
