"""Statements that many send, or that look at many rows: each finds its rows by an index, and sorts none."""

from typing import Any

import pytest
from sqlalchemy import ClauseElement, make_url

from adapters.postgres import keys, outcomes, post_pages, posts, users
from adapters.postgres.drivers import PsycopgDriver
from adapters.system import new_id
from domain.posts import PostStatus
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


def _page(*, status: PostStatus | None = None, **filters: bool) -> ClauseElement:
    return post_pages.page(status=status, **{"after": False, "author_id": False, "reader_id": False} | filters)


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
        pytest.param(_page(status=PostStatus.PUBLISHED), "ix_posts_published_id", id="the first page of the published"),
        pytest.param(_page(after=True, status=PostStatus.PUBLISHED), "ix_posts_published_id", id="one of theirs"),
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


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
def test_a_readers_page_is_two_ranges_merged(filled: Store, after: bool, plans: str) -> None:
    filled.admin.execute(f"SET plan_cache_mode = {plans}".encode())
    (user_id,) = filled.admin.execute(A_USER).fetchone() or (None,)
    plan = _plan(filled, _page(after=after, reader_id=True), after=HALF, reader_id=user_id, limit=20)
    filled.admin.execute("RESET plan_cache_mode")
    assert "pk_posts" in plan
    assert "ix_posts_published_id" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("reader_id", [False, True])
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
def test_words_are_looked_up_though_every_post_has_them(filled: Store, reader_id: bool, plans: str) -> None:
    filled.admin.execute(f"SET plan_cache_mode = {plans}".encode())
    statement = post_pages.found(after=None, author_id=False, status=None, reader_id=reader_id)
    plan = _plan(filled, statement, query="content", limit=20, reader_id=LOW)
    filled.admin.execute("RESET plan_cache_mode")
    assert plan.count("Bitmap Index Scan on ix_posts_words") == 3  # each rank, and titles to leave out


def _touched(store: Store, words: str, **filters: Any) -> int:
    """Return how many blocks a first page of what is found touches."""
    given = {"after": None, "author_id": False, "status": None, "reader_id": False} | filters
    sql = PsycopgDriver(make_url("postgresql+psycopg://").get_dialect()()).query(post_pages.found(**given)).sql
    parameters = {"query": post_pages.all_of(words.split()), "limit": 20, "after": HALF, "reader_id": LOW}
    rows = store.admin.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".encode(), parameters).fetchall()
    plan: Any = rows[0][0]
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


MANY = """
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version)
    SELECT (SELECT id FROM users LIMIT 1), gen_random_uuid(), 'title', repeat('content ', 90) ||
        CASE n % 2 WHEN 0 THEN 'even' ELSE 'odd' END ||
        CASE WHEN n % 7000 = 0 THEN ' rare' ELSE '' END,
        'published', now(), now(), now(), 1
    FROM generate_series(1, 7000) AS n
"""


@pytest.mark.parametrize(
    "words", ["title", "content", "even", "rare", "even odd", "content rare", "nowhere", "title no"]
)
def test_finding_posts_reads_few_of_them(filled: Store, words: str) -> None:
    filled.admin.execute(MANY.encode())
    filled.admin.execute("VACUUM ANALYZE posts")  # a walk would pass what earlier tests removed
    assert _touched(filled, words) < 5_000


LONG = """
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version)
    SELECT (SELECT id FROM users LIMIT 1), gen_random_uuid(), 'title', repeat('content ', 240) ||
        CASE WHEN n % 500 = 0 THEN ' rare' ELSE '' END,
        'published', now(), now(), now(), 1
    FROM generate_series(1, 1000) AS n
"""
CALLS = "SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE funcname = 'words_of'"


def _worked_out(store: Store) -> int:
    """Return how often the transaction has called `words_of`."""
    ((calls,),) = store.admin.execute(CALLS).fetchall()
    return int(str(calls))


@pytest.mark.parametrize("words", ["content", "rare", "content rare", "nowhere"])
@pytest.mark.parametrize("reader_id", [False, True])
def test_words_of_few_long_posts_are_worked_out(filled: Store, reader_id: bool, words: str) -> None:
    filled.admin.execute("DELETE FROM posts")
    filled.admin.execute(LONG.encode())
    filled.admin.execute("VACUUM ANALYZE posts")
    with filled.admin.transaction():
        filled.admin.execute("SET LOCAL track_functions = 'pl'")
        before = _worked_out(filled)
        _touched(filled, words, after=False, reader_id=reader_id)
        worked_out = _worked_out(filled) - before
    assert 20 < worked_out <= 2 * 32  # of 3,000 bytes for each post that is asked for; text, and title
