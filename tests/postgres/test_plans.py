"""Statements that many send, or that look at many rows: each finds its rows by an index, and sorts none."""

from typing import Any

import pytest
from sqlalchemy import ClauseElement, make_url

from adapters.postgres import keys, outcomes, posts, users
from adapters.postgres.drivers import PsycopgDriver
from adapters.system import new_id
from tests.support.examples import CREATED
from tests.support.stores import Store

# Enough rows, and statistics of them, for the planner to have one cheapest plan only.
FILLING = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, 20) AS n;
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version)
    SELECT users.id, gen_random_uuid(), 'title', 'content', CASE n % 5 WHEN 0 THEN 'draft' ELSE 'published' END,
        CASE n % 5 WHEN 0 THEN NULL ELSE now() END, now(), now(), 1
    FROM users, generate_series(1, 250) AS n;
    INSERT INTO api_keys (id, name, scopes, user_id, pepper, digest, created_at)
    SELECT gen_random_uuid(), 'key', '{users:read}', users.id, 1, sha256('key'), now()
    FROM users, generate_series(1, 25);
    INSERT INTO outcomes (key_id, name, fingerprint, answer, subject_id, created_at, expires_at)
    SELECT api_keys.id, sha256(n::text::bytea), sha256('request'), 'answer',
        CASE n % 2 WHEN 0 THEN api_keys.user_id END, now(), now() + n * interval '1 hour'
    FROM api_keys, generate_series(1, 10) AS n;
    ANALYZE users, posts, api_keys, outcomes
"""
A_USER = "SELECT id FROM users LIMIT 1"
LOW, HALF = "00000000-0000-7000-8000-000000000000", "80000000-0000-7000-8000-000000000000"


def _plan(store: Store, statement: ClauseElement, **parameters: Any) -> str:
    sql = PsycopgDriver(make_url("postgresql+psycopg://").get_dialect()()).query(statement).sql
    return str(store.admin.execute(f"EXPLAIN {sql}".encode(), parameters).fetchall())


def _page(**filters: bool) -> ClauseElement:
    return posts._list(**{"after": False, "author_id": False, "status": False, "reader_id": False} | filters)


@pytest.fixture
def filled(store: Store) -> Store:
    store.admin.execute(FILLING.encode())
    return store


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        pytest.param(posts._get(author_id=False, reader_id=False), "ix_posts_id", id="a post"),
        pytest.param(posts._get(author_id=False, reader_id=True), "ix_posts_id", id="a post for a reader"),
        pytest.param(posts._get(author_id=True, reader_id=False), "Index Scan", id="an author's post"),
        pytest.param(_page(), "ix_posts_id", id="the first page"),
        pytest.param(_page(after=True), "ix_posts_id", id="a page"),
        pytest.param(_page(author_id=True), "pk_posts", id="an author's first page"),
        pytest.param(_page(after=True, author_id=True), "pk_posts", id="an author's page"),
        pytest.param(_page(reader_id=True), "ix_posts_id", id="a reader's first page"),
        pytest.param(_page(after=True, reader_id=True), "ix_posts_id", id="a reader's page"),
        pytest.param(_page(author_id=True, reader_id=True), "pk_posts", id="an author's first page for a reader"),
        pytest.param(keys._GET, "pk_api_keys", id="a key"),
        pytest.param(keys._list(after=True), "pk_api_keys", id="a page of keys"),
        pytest.param(outcomes._GET, "pk_outcomes", id="an outcome"),
        pytest.param(outcomes._PURGE, "ix_outcomes_expires_at", id="what has expired"),
        pytest.param(outcomes._FIRST_EXPIRY, "ix_outcomes_expires_at", id="what expires first"),
        pytest.param(users._FORGET, "ix_outcomes_subject_id", id="answers about a user"),
    ],
)
async def test_rows_are_found_by_an_index(filled: Store, statement: ClauseElement, index: str) -> None:
    (user_id,) = filled.admin.execute(A_USER).fetchone() or (None,)
    plan = _plan(
        filled,
        statement,
        id=LOW,
        after=HALF,
        author_id=user_id,
        reader_id=user_id,
        stored_id=user_id,
        key_id=new_id(),
        name=bytes(32),
        now=CREATED,
        limit=20,
    )
    assert index in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan
