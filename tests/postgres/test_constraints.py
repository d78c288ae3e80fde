"""Tests for the constraints of the database."""

from collections.abc import Sequence

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from adapters.clock import new_id
from domain.api_keys import MAX_API_KEY_NAME_LENGTH
from domain.posts import MAX_CONTENT_LENGTH, MAX_TITLE_LENGTH
from domain.users import MAX_FULL_NAME_LENGTH
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import (
    make_api_key,
    make_idempotency_record,
    make_post,
    make_user,
    store_api_keys,
    store_idempotency_records,
    store_posts,
    store_users,
)

USERS = [
    ("email", "xy", "ck_users_email_length"),
    ("email", "x" * 255, "ck_users_email_length"),
    ("email", None, "email"),
    ("email_normalized", "xy", "ck_users_email_normalized_length"),
    ("email_normalized", "x" * 1001, "ck_users_email_normalized_length"),
    ("email_normalized", None, "email_normalized"),
    ("full_name", "", "ck_users_full_name_length"),
    ("full_name", "x" * (MAX_FULL_NAME_LENGTH + 1), "ck_users_full_name_length"),
    ("is_active", None, "is_active"),
    ("created_at", None, "created_at"),
    ("updated_at", None, "updated_at"),
    ("version", 0, "ck_users_version_positive"),
    ("version", None, "version"),
]
POSTS = [
    ("author_id", new_id(), "fk_posts_author_id_users"),
    ("author_id", None, "author_id"),
    ("title", "", "ck_posts_title_length"),
    ("title", "x" * (MAX_TITLE_LENGTH + 1), "ck_posts_title_length"),
    ("content", "", "ck_posts_content_length"),
    ("content", "x" * (MAX_CONTENT_LENGTH + 1), "ck_posts_content_length"),
    ("status", "deleted", "ck_posts_status_known"),
    ("status", "Draft", "ck_posts_status_known"),
    ("status", "draft", "ck_posts_published_once_not_draft"),
    ("status", None, "status"),
    ("published_at", None, "ck_posts_published_once_not_draft"),
    ("created_at", None, "created_at"),
    ("updated_at", None, "updated_at"),
    ("version", -1, "ck_posts_version_positive"),
    ("version", None, "version"),
]
API_KEYS: list[tuple[str, object, str]] = [
    ("name", "", "ck_api_keys_name_length"),
    ("name", "x" * (MAX_API_KEY_NAME_LENGTH + 1), "ck_api_keys_name_length"),
    ("name", None, "name"),
    ("scopes", [], "ck_api_keys_scopes_some"),
    ("scopes", None, "scopes"),
    ("user_id", new_id(), "fk_api_keys_user_id_users"),
    ("pepper", 0, "ck_api_keys_pepper_positive"),
    ("pepper", None, "pepper"),
    ("digest", b"x" * 31, "ck_api_keys_digest_length"),
    ("digest", b"x" * 33, "ck_api_keys_digest_length"),
    ("digest", None, "digest"),
    ("created_at", None, "created_at"),
]
OUTCOMES = [
    ("api_key_id", new_id(), "fk_idempotency_records_api_key_id_api_keys"),
    ("api_key_id", None, "api_key_id"),
    ("key_hash", b"x" * 31, "ck_idempotency_records_key_hash_length"),
    ("key_hash", b"x" * 33, "ck_idempotency_records_key_hash_length"),
    ("key_hash", None, "key_hash"),
    ("fingerprint", b"x" * 31, "ck_idempotency_records_fingerprint_length"),
    ("fingerprint", b"x" * 33, "ck_idempotency_records_fingerprint_length"),
    ("fingerprint", None, "fingerprint"),
    ("response", b"x" * 65537, "ck_idempotency_records_response_length"),
    ("response", None, "response"),
    ("created_at", None, "created_at"),
    ("expires_at", None, "expires_at"),
]
INVALID: dict[str, Sequence[tuple[str, object, str]]] = {
    "users": USERS,
    "posts": POSTS,
    "api_keys": API_KEYS,
    "idempotency_records": OUTCOMES,
}


VALID: list[tuple[str, str, object]] = [
    ("users", "email", "x" * 254),
    ("users", "email_normalized", "x" * 1000),
    ("users", "full_name", "\U0001f989" * MAX_FULL_NAME_LENGTH),
    ("users", "full_name", None),
    ("posts", "title", "\U0001f989" * MAX_TITLE_LENGTH),
    ("posts", "content", "\U0001f989" * MAX_CONTENT_LENGTH),
    ("posts", "status", "archived"),
    ("posts", "version", 2**31 - 1),
    ("api_keys", "name", "\U0001f989" * MAX_API_KEY_NAME_LENGTH),
    ("api_keys", "scopes", ["posts:read", "posts:write", "users:read", "users:write"]),
    ("api_keys", "user_id", None),
    ("api_keys", "expires_at", None),
    ("idempotency_records", "response", b"x" * 65536),
    ("idempotency_records", "response", b""),
    ("idempotency_records", "subject_id", None),
    ("idempotency_records", "subject_id", new_id()),
]
ALL_SCOPES = ["keys:admin", "metrics:read", "posts:read", "posts:write", "users:read", "users:write"]
pytestmark = pytest.mark.parametrize("driver", ["psycopg"])


@pytest.fixture
async def filled(store: DatabaseFixture) -> DatabaseFixture:
    user = make_user()
    await store_users(store.storage, user)
    await store_posts(store.storage, make_post(user))
    key = make_api_key(user)
    await store_api_keys(store.storage, key)
    await store_idempotency_records(store.storage, make_idempotency_record(key, subject_id=user.id))
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


@pytest.mark.parametrize(
    ("table", "column", "value"), VALID, ids=[f"{case[0]}.{case[1]}-{number}" for number, case in enumerate(VALID)]
)
async def test_constraint_accepts_value_at_the_limit(
    filled: DatabaseFixture, table: str, column: str, value: object
) -> None:
    _update(filled, table, column, value)
    query = SQL("SELECT {} FROM {}").format(Identifier(column), Identifier(table))
    assert filled.admin.execute(query).fetchone() == (value,)


async def test_constraint_accepts_all_scopes_of_unbound_api_key(filled: DatabaseFixture) -> None:
    filled.admin.execute("UPDATE api_keys SET user_id = NULL, scopes = %s", [ALL_SCOPES])
    assert filled.admin.execute("SELECT scopes FROM api_keys").fetchone() == (ALL_SCOPES,)


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
