"""The last line of defence: the database refuses rows that the rules would not have let through."""

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from adapters.system import new_id
from domain.posts import LONGEST_CONTENT, LONGEST_TITLE
from domain.users import LONGEST_FULL_NAME
from tests.support.examples import CREATED, a_post, a_user, store_posts, store_users
from tests.support.stores import Store

BAD_USERS = [
    ("email", "xy", "ck_users_email_length"),
    ("email", "x" * 255, "ck_users_email_length"),
    ("email", None, "email"),
    ("email_key", "xy", "ck_users_email_key_length"),
    ("email_key", "x" * 1001, "ck_users_email_key_length"),
    ("email_key", None, "email_key"),
    ("full_name", "", "ck_users_full_name_length"),
    ("full_name", "x" * (LONGEST_FULL_NAME + 1), "ck_users_full_name_length"),
    ("is_active", None, "is_active"),
    ("created_at", None, "created_at"),
    ("updated_at", None, "updated_at"),
    ("version", 0, "ck_users_version_positive"),
    ("version", None, "version"),
]
BAD_POSTS = [
    ("author_id", new_id(), "fk_posts_author_id_users"),
    ("author_id", None, "author_id"),
    ("title", "", "ck_posts_title_length"),
    ("title", "x" * (LONGEST_TITLE + 1), "ck_posts_title_length"),
    ("content", "", "ck_posts_content_length"),
    ("content", "x" * (LONGEST_CONTENT + 1), "ck_posts_content_length"),
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


@pytest.fixture
async def filled(store: Store) -> Store:
    user = a_user()
    await store_users(store.storage, user)
    await store_posts(store.storage, a_post(user))
    return store


def _change(store: Store, table: str, column: str, value: object) -> None:
    statement = SQL("UPDATE {} SET {} = %s").format(Identifier(table), Identifier(column))
    store.admin.execute(statement, [value])


@pytest.mark.parametrize(
    ("table", "column", "value", "name"),
    [("users", *bad) for bad in BAD_USERS] + [("posts", *bad) for bad in BAD_POSTS],
)
async def test_a_bad_value_is_refused(filled: Store, table: str, column: str, value: object, name: str) -> None:
    with pytest.raises(psycopg.IntegrityError) as raised:
        _change(filled, table, column, value)
    assert name in {raised.value.diag.constraint_name, raised.value.diag.column_name}


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("users", "email", "x" * 254),
        ("users", "email_key", "x" * 1000),
        ("users", "full_name", "\U0001f989" * LONGEST_FULL_NAME),
        ("users", "full_name", None),
        ("posts", "title", "\U0001f989" * LONGEST_TITLE),
        ("posts", "content", "\U0001f989" * LONGEST_CONTENT),
        ("posts", "status", "archived"),
        ("posts", "version", 2**31 - 1),
    ],
)
async def test_a_value_at_the_edge_is_stored(filled: Store, table: str, column: str, value: object) -> None:
    _change(filled, table, column, value)
    query = SQL("SELECT {} FROM {}").format(Identifier(column), Identifier(table))
    assert filled.admin.execute(query).fetchone() == (value,)


async def test_an_address_key_is_there_once(filled: Store) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        filled.admin.execute(
            "INSERT INTO users SELECT gen_random_uuid(), email, email_key, full_name, is_active, %s, %s, 1 FROM users",
            [CREATED, CREATED],
        )
    assert raised.value.diag.constraint_name == "uq_users_email_key"


async def test_the_pages_of_an_author_and_a_post_by_id_are_found_by_an_index(filled: Store) -> None:
    # Enough authors and posts, and statistics of them, for the planner to have one cheapest plan only.
    filled.admin.execute(
        "INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, %s, %s, 1"
        " FROM generate_series(1, 100) AS n",
        [CREATED, CREATED],
    )
    filled.admin.execute(
        "INSERT INTO posts (author_id, id, title, content, status, created_at, updated_at, version)"
        " SELECT users.id, gen_random_uuid(), 'title', 'content', 'draft', %s, %s, 1"
        " FROM users, generate_series(1, 50)",
        [CREATED, CREATED],
    )
    filled.admin.execute("ANALYZE users, posts")
    for condition, order, index in (
        ("id = '00000000-0000-7000-8000-000000000000'", "", "ix_posts_id"),
        ("id < '80000000-0000-7000-8000-000000000000'", "ORDER BY id DESC LIMIT 20", "ix_posts_id"),
        ("author_id = (SELECT id FROM users LIMIT 1)", "ORDER BY id DESC LIMIT 20", "pk_posts"),
    ):
        plan = filled.admin.execute(f"EXPLAIN SELECT id FROM posts WHERE {condition} {order}").fetchall()  # noqa: S608
        assert index in str(plan)
        assert "Sort" not in str(plan)
