"""Tests for port errors: their texts contain no text of the database."""

import pytest

from adapters.exception_summary import database_fields
from application.authorization import SYSTEM_PRINCIPAL
from application.ports import StorageUnavailableError
from tests.postgres.failures import EXPECTED, KNOWN, ONCE, OTHER, Failure
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_api_key, make_idempotency_record, make_post, make_user
from tests.support.factories import store as store_entities
from tests.support.use_case_runner import UseCaseRunner, fetch

SECRETS = ["secret", "zo", "users", "posts", "uq_", "fk_", "duplicate", "violates", "INSERT", "SELECT", "hexapost", "/"]
FAILURES: list[Failure] = [
    *EXPECTED.values(),
    (lambda work: fetch(work, "SELECT fail('57P01')"), StorageUnavailableError),
]


@pytest.mark.parametrize("failure", FAILURES, ids=[*EXPECTED, "SQLSTATE"])
async def test_port_errors_hide_database_messages(probe: UseCaseRunner, failure: Failure) -> None:
    body, kind = failure
    await store_entities(probe.storage, KNOWN, OTHER)
    probe.retry = ONCE
    with pytest.raises(kind) as raised:
        await probe.change(body)
    error = raised.value
    text = f"{error} {error!r} {error.args}".lower()
    assert [secret for secret in SECRETS if secret.lower() in text] == []


@pytest.mark.parametrize(
    ("change", "undo", "expected"),
    [
        ("", "", {"sqlstate": "23514", "table": "users", "constraint": "ck_users_full_name_length"}),
        (
            "RENAME full_name TO other",
            "RENAME other TO full_name",
            {"sqlstate": "42703", "table": "audit_entries, users"},
        ),
        ("ADD other int NOT NULL", "DROP other", {"sqlstate": "23502", "table": "users"}),
    ],
)
async def test_log_fields_of_database_error_are_names(
    probe: UseCaseRunner, store: DatabaseFixture, change: str, undo: str, expected: dict[str, str]
) -> None:
    store.admin.execute(f"ALTER TABLE users {change}".encode() if change else "")
    user = make_user(full_name="Zoe" if change else "x" * 201)
    try:
        with pytest.raises(Exception, match=r"full_name|other") as raised:
            await probe.change(lambda work: work.users.add(user))
    finally:
        store.admin.execute(f"ALTER TABLE users {undo}".encode() if undo else "")
    assert database_fields(raised.value) == expected


async def test_statistics_contain_no_personal_data(store: DatabaseFixture) -> None:
    for number in range(3):
        user = make_user(email=f"canary{number}@example.org", full_name=f"Canary {number}")
        key = make_api_key(user, name=f"canary {number}")
        record = make_idempotency_record(key, response=f"canary {number}".encode())
        await store_entities(
            store.storage, user, make_post(user, title=f"Canary {number}", content="Canary"), key, record
        )
        async with store.storage.transaction(SYSTEM_PRINCIPAL.for_request(f"canary-{number}")) as work:
            await work.users.add(make_user(email=f"canary-{number}@example.org"))
    store.admin.execute("ANALYZE")
    rows = store.admin.execute("SELECT stats::text FROM pg_stats AS stats WHERE schemaname = 'public'").fetchall()
    statistics = str(rows).lower()
    assert "published" in statistics
    assert "canary" not in statistics
    assert b"canary".hex() not in statistics
