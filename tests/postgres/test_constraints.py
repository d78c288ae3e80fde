"""Tests for the constraints of the database."""

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from adapters.clock import new_id
from domain.api_keys import MAX_API_KEY_NAME_LENGTH
from domain.posts import MAX_CONTENT_LENGTH, MAX_TITLE_LENGTH
from domain.users import MAX_FULL_NAME_LENGTH
from tests.support import factories
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import make_api_key, make_idempotency_record, make_post, make_user, store_users

INVALID: dict[str, list[tuple[str, object, str]]] = {
    "users": [
        ("email", "xy", "ck_users_email_length"),
        ("email", "x" * 255, "ck_users_email_length"),
        ("email_normalized", "xy", "ck_users_email_normalized_length"),
        ("email_normalized", "x" * 1001, "ck_users_email_normalized_length"),
        ("full_name", "", "ck_users_full_name_length"),
        ("full_name", "x" * (MAX_FULL_NAME_LENGTH + 1), "ck_users_full_name_length"),
        ("version", 0, "ck_users_version_positive"),
    ],
    "posts": [
        ("author_id", new_id(), "fk_posts_author_id_users"),
        ("title", "", "ck_posts_title_length"),
        ("title", "x" * (MAX_TITLE_LENGTH + 1), "ck_posts_title_length"),
        ("content", "", "ck_posts_content_length"),
        ("content", "x" * (MAX_CONTENT_LENGTH + 1), "ck_posts_content_length"),
        ("status", "deleted", "ck_posts_status_known"),
        ("status", "Draft", "ck_posts_status_known"),
        ("status", "draft", "ck_posts_published_once_not_draft"),
        ("published_at", None, "ck_posts_published_once_not_draft"),
        ("version", -1, "ck_posts_version_positive"),
    ],
    "api_keys": [
        ("name", "", "ck_api_keys_name_length"),
        ("name", "x" * (MAX_API_KEY_NAME_LENGTH + 1), "ck_api_keys_name_length"),
        ("scopes", [], "ck_api_keys_scopes_some"),
        ("user_id", new_id(), "fk_api_keys_user_id_users"),
        ("pepper", 0, "ck_api_keys_pepper_positive"),
        ("digest", b"x" * 31, "ck_api_keys_digest_length"),
        ("digest", b"x" * 33, "ck_api_keys_digest_length"),
        ("family_secret", b"x" * 31, "ck_api_keys_family_secret_length"),
        ("family_secret", b"x" * 33, "ck_api_keys_family_secret_length"),
        ("family_secret", None, "ck_api_keys_family_complete"),
        ("family_id", None, "ck_api_keys_family_complete"),
    ],
    "idempotency_records": [
        ("api_key_id", new_id(), "fk_idempotency_records_api_key_id_api_keys"),
        ("key_hash", b"x" * 31, "ck_idempotency_records_key_hash_length"),
        ("key_hash", b"x" * 33, "ck_idempotency_records_key_hash_length"),
        ("fingerprint", b"x" * 31, "ck_idempotency_records_fingerprint_length"),
        ("fingerprint", b"x" * 33, "ck_idempotency_records_fingerprint_length"),
        ("response", b"x" * 65537, "ck_idempotency_records_response_length"),
    ],
}
NOT_NULL = {
    "users": "email email_normalized is_active created_at updated_at version",
    "posts": "author_id title content status created_at updated_at version",
    "api_keys": "name scopes pepper digest created_at",
    "idempotency_records": "api_key_id key_hash fingerprint response created_at expires_at",
}
for _table, _columns in NOT_NULL.items():
    INVALID[_table] += [(column, None, column) for column in _columns.split()]


pytestmark = pytest.mark.parametrize("driver", ["psycopg"])


@pytest.fixture
async def filled(store: DatabaseFixture) -> DatabaseFixture:
    user = make_user()
    key = make_api_key(user)
    record = make_idempotency_record(key, subject_id=user.id)
    await factories.store(store.storage, user, make_post(user), key, record)
    return store


def _update(store: DatabaseFixture, table: str, column: str, value: object) -> None:
    statement = SQL("UPDATE {} SET {} = %s").format(Identifier(table), Identifier(column))
    store.admin.execute(statement, [value])


@pytest.mark.parametrize(
    ("table", "column", "value", "name"),
    [
        pytest.param(table, *case, id=f"{table}.{case[0]}-{number}")
        for table, cases in INVALID.items()
        for number, case in enumerate(cases)
    ],
)
async def test_constraint_rejects_invalid_value(
    filled: DatabaseFixture, table: str, column: str, value: object, name: str
) -> None:
    with pytest.raises(psycopg.IntegrityError) as raised:
        _update(filled, table, column, value)
    assert name in {raised.value.diag.constraint_name, raised.value.diag.column_name}


async def test_constraint_accepts_longest_normalized_email(filled: DatabaseFixture) -> None:
    _update(filled, "users", "email_normalized", "x" * 1000)


async def test_repository_stores_scopes_in_order(filled: DatabaseFixture) -> None:
    assert filled.admin.execute("SELECT scopes FROM api_keys").fetchone() == (["posts:read", "users:write"],)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("UPDATE users SET email_normalized = (SELECT min(email_normalized) FROM users)", "uq_users_email_normalized"),
        ("INSERT INTO idempotency_records SELECT * FROM idempotency_records", "pk_idempotency_records"),
    ],
)
async def test_unique_constraint_rejects_duplicate(filled: DatabaseFixture, statement: str, name: str) -> None:
    await store_users(filled.storage, make_user())
    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        filled.admin.execute(statement.encode())
    assert raised.value.diag.constraint_name == name
