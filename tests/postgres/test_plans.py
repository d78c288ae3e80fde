"""Tests for query plans: frequent statements and statements on many rows use an index."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, LiteralString

import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import ClauseElement, make_url

from adapters.clock import new_id
from adapters.postgres.coalescing import MAX_BATCH_SIZE, CoalescedStatement
from adapters.postgres.drivers import PsycopgDriver
from adapters.postgres.models import POSTS
from adapters.postgres.repositories import api_keys, audit, idempotency, post_search, posts, users
from adapters.testing.template_databases import Connection, Databases, connected
from domain.posts import PostStatus
from domain.search_tokens import parse_query
from tests.support.factories import make_post, make_user, next_version

# Enough rows for the planner to have exactly one cheapest plan.
ROWS = """
    INSERT INTO users (id, email, email_normalized, is_active, created_at, updated_at, version)
    SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', true, now(), now(), 1 FROM generate_series(1, 20) AS n;
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version,
        title_tokens, text_tokens)
    SELECT users.id, gen_random_uuid(), 'title', 'content', CASE n % 5 WHEN 0 THEN 'draft' ELSE 'published' END,
        CASE n % 5 WHEN 0 THEN NULL ELSE now() END, now(), now(), 1, 'title', 'title content'
    FROM users, generate_series(1, 250) AS n;
    INSERT INTO api_keys (id, name, scopes, user_id, pepper, digest, created_at)
    SELECT gen_random_uuid(), 'key', '{users:read}', users.id, 1, sha256('key'), now()
    FROM users, generate_series(1, 25);
    INSERT INTO idempotency_records (api_key_id, key_hash, fingerprint, response, subject_id, created_at, expires_at)
    SELECT api_keys.id, sha256(n::text::bytea), sha256('request'), 'answer',
        CASE n % 2 WHEN 0 THEN api_keys.user_id END, now(), now() + n * interval '1 hour'
    FROM api_keys, generate_series(1, 10) AS n;
    INSERT INTO audit_entries (id, created_at, actor_kind, actor_id, request_id, operation, subject_kind, subject_id,
        user_id, changed_fields)
    SELECT ('00' || substr(gen_random_uuid()::text, 3))::uuid, now(), 'api_key', actor.id, 'x', 'created', 'user',
        users.id, users.id, '{}'
    FROM users, LATERAL (SELECT id FROM api_keys WHERE user_id = users.id LIMIT 1) AS actor, generate_series(1, 250);
"""
COMMON_WORDS = """
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version,
        title_tokens, text_tokens)
    SELECT (SELECT id FROM users LIMIT 1), gen_random_uuid(), 'title', content, 'published', now(), now(), now(), 1,
        'title', array_to_tsvector(string_to_array(content || ' title', ' '))
    FROM generate_series(1, 7000) AS n, LATERAL (
        SELECT repeat('content ', 90) || CASE n % 2 WHEN 0 THEN 'even' ELSE 'odd' END ||
            CASE WHEN n % 7000 = 0 THEN ' rare' ELSE '' END AS content
    ) AS text
"""
LONG_POSTS = """
    DELETE FROM posts;
    INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version,
        title_tokens, text_tokens)
    SELECT (SELECT id FROM users LIMIT 1), gen_random_uuid(), 'title', content, 'published', now(), now(), now(), 1,
        'title', array_to_tsvector(string_to_array(content || ' title', ' '))
    FROM generate_series(1, 1000) AS n, LATERAL (
        SELECT string_agg(md5((300 * n + word)::text), ' ') || CASE WHEN n % 500 = 0 THEN ' rare' ELSE '' END AS content
        FROM generate_series(1, 60) AS word
    ) AS text
"""
AUTHOR = "SELECT id FROM users LIMIT 1"
KEY = "SELECT actor_id FROM audit_entries LIMIT 1"
ACTOR = {"actor_kind": "operator", "actor_id": None, "request_id": None}
POST_IDS = "SELECT id FROM posts ORDER BY id DESC"
MANY_USERS = """
    INSERT INTO users (id, email, email_normalized, is_active, created_at, updated_at, version)
    SELECT gen_random_uuid(), n || '@y.org', n || '@y.org', true, now(), now(), 1 FROM generate_series(1, 7000) AS n
"""
HOT_UPDATES = "SELECT pg_stat_get_xact_tuples_hot_updated('posts'::regclass)"
UNFILTERED: dict[str, Any] = {"after": False, "author_id": False, "status": None, "reader_id": False}
LOW, HALF = "00000000-0000-7000-8000-000000000000", "80000000-0000-7000-8000-000000000000"


def _filled(databases: Databases, more: str = "") -> Iterator[Connection]:
    url = databases.clone()
    with connected(url) as connection:
        connection.execute((ROWS + more).encode())
        connection.execute("VACUUM ANALYZE users, posts, api_keys, idempotency_records, audit_entries")
        yield connection
    databases.drop(url)


@pytest.fixture(scope="module")
def filled(databases: Databases) -> Iterator[Connection]:
    """A database with 5,000 short posts."""
    yield from _filled(databases)


@pytest.fixture(scope="module")
def many_users(databases: Databases) -> Iterator[Connection]:
    """A database with 7,000 more users."""
    yield from _filled(databases, MANY_USERS)


@pytest.fixture(scope="module")
def common_words(databases: Databases) -> Iterator[Connection]:
    """A database with 7,000 more posts of few words."""
    yield from _filled(databases, COMMON_WORDS)


@pytest.fixture(scope="module")
def long_posts(databases: Databases) -> Iterator[Connection]:
    """A database with 1,000 long posts only."""
    yield from _filled(databases, LONG_POSTS)


def _sql(statement: ClauseElement) -> str:
    return PsycopgDriver(make_url("postgresql+psycopg://").get_dialect()()).compile(statement).sql


def _plan(connection: Connection, statement: ClauseElement, *, mode: str, **parameters: Any) -> str:
    with connection.transaction():
        connection.execute(f"SET LOCAL plan_cache_mode = {mode}".encode())
        return str(connection.execute(f"EXPLAIN {_sql(statement)}".encode(), parameters).fetchall())


def _value(connection: Connection, query: LiteralString) -> Any:
    ((value,),) = connection.execute(query).fetchall()
    return value


def _page(**filters: Any) -> ClauseElement:
    return post_search.list_statement(**UNFILTERED | filters)


def _audit_page(*filters: str, after: bool = False) -> ClauseElement:
    return audit._list(frozenset(filters), after=after)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        pytest.param(posts._GET.one, "ix_posts_id", id="post"),
        pytest.param(posts._get(author_id=False, reader_id=True), "ix_posts_id", id="post for a reader"),
        pytest.param(posts._get(author_id=True, reader_id=False), "Index Scan", id="post of an author"),
        pytest.param(_page(), "ix_posts_id", id="first page"),
        pytest.param(_page(after=True), "ix_posts_id", id="page"),
        pytest.param(_page(author_id=True), "pk_posts", id="first page of an author"),
        pytest.param(_page(after=True, author_id=True), "pk_posts", id="page of an author"),
        pytest.param(_page(status=PostStatus.PUBLISHED), "ix_posts_published_id", id="first page of published posts"),
        pytest.param(_page(after=True, status=PostStatus.PUBLISHED), "ix_posts_published_id", id="published posts"),
        pytest.param(api_keys._GET, "pk_api_keys", id="API key"),
        pytest.param(api_keys._GET_WITH_TIME, "pk_api_keys", id="API key with time"),
        pytest.param(api_keys._page(after=True, user_id=False), "pk_api_keys", id="page of API keys"),
        pytest.param(idempotency._GET, "pk_idempotency_records", id="idempotency record"),
        pytest.param(idempotency._PURGE, "ix_idempotency_records_expires_at", id="purge"),
        pytest.param(posts._purge(PostStatus.DRAFT), "ix_posts_unpublished_created_at", id="purge of drafts"),
        pytest.param(
            posts._purge(PostStatus.ARCHIVED), "ix_posts_unpublished_created_at", id="purge of archived posts"
        ),
        pytest.param(posts._count_expired(PostStatus.DRAFT), "ix_posts_unpublished_created_at", id="expired drafts"),
        pytest.param(idempotency._PURGE_LAG, "ix_idempotency_records_expires_at", id="purge lag"),
        pytest.param(users._ERASE_RESPONSES, "ix_idempotency_records_subject_id", id="responses about a user"),
        pytest.param(_audit_page(after=True), "pk_audit_entries", id="page of audit entries"),
        pytest.param(_audit_page("subject_id"), "ix_audit_entries_subject_id_id", id="audit entries of a subject"),
        pytest.param(
            _audit_page("subject_id", after=True), "ix_audit_entries_subject_id_id", id="next page of a subject"
        ),
        pytest.param(_audit_page("actor_id"), "ix_audit_entries_actor_id_id", id="audit entries of an actor"),
        pytest.param(_audit_page("user_id", after=True), "ix_audit_entries_user_id_id", id="export of audit entries"),
        pytest.param(audit.ERASE_REQUEST_IDS, "ix_audit_entries_user_id_id", id="audit entries about a user"),
        pytest.param(audit._PURGE, "pk_audit_entries", id="purge of audit entries"),
    ],
)
def test_statement_plan_uses_index(filled: Connection, statement: ClauseElement, index: str) -> None:
    user_id = _value(filled, AUTHOR)
    user_parameters = {"id": LOW, "after": HALF, "author_id": user_id, "reader_id": user_id, "stored_id": user_id}
    record_parameters = {"api_key_id": new_id(), "key_hash": bytes(32), "unchanged_for": timedelta(days=1)}
    audit_parameters = {
        "subject_id": user_id,
        "user_id": user_id,
        "older_than": timedelta(days=1),
        **ACTOR,
        "actor_id": _value(filled, KEY),
    }
    plan = _plan(filled, statement, mode="auto", limit=20, **user_parameters, **record_parameters, **audit_parameters)
    assert index in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(("statement", "index"), [(posts._GET, "ix_posts_id"), (posts._ADD, "pk_users")])
def test_shared_statement_plan_uses_index(
    many_users: Connection, statement: CoalescedStatement, index: str, mode: str
) -> None:
    ids = [new_id() for _ in range(MAX_BATCH_SIZE)]
    columns = {name: [None] * MAX_BATCH_SIZE for name in (*POSTS.c.keys(), *ACTOR)}
    plan = _plan(many_users, statement.many, mode=mode, **columns | {"id": ids, "author_id": ids})
    assert index in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("after", [False, True])
def test_page_of_the_keys_of_a_user_uses_index(filled: Connection, after: bool) -> None:
    statement = api_keys._page(after=after, user_id=True)
    plan = _plan(filled, statement, mode="auto", user_id=_value(filled, AUTHOR), after=HALF, limit=100)
    assert "ix_api_keys_user_id" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("statement", [users._FIND_EXPIRED, users._COUNT_EXPIRED], ids=["find", "count"])
def test_expired_users_plan_uses_index(many_users: Connection, statement: ClauseElement, mode: str) -> None:
    plan = _plan(many_users, statement, mode=mode, unchanged_for=timedelta(days=1), limit=1)
    assert "ix_users_inactive_created_at" in plan
    assert "Sort" not in plan


def test_late_page_reads_as_many_blocks_as_an_early_one(filled: Connection) -> None:
    early, late = [
        _blocks(filled, _page(after=True), after=_value(filled, f"{POST_IDS} OFFSET {offset} LIMIT 1"), limit=21)
        for offset in (10, 4900)
    ]
    assert late <= 1.2 * early


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_reader_page_plan_merges_two_index_ranges(filled: Connection, after: bool, mode: str) -> None:
    plan = _plan(
        filled, _page(after=after, reader_id=True), mode=mode, after=HALF, reader_id=_value(filled, AUTHOR), limit=20
    )
    assert "pk_posts" in plan
    assert "ix_posts_published_id" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("reader_id", [False, True])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_search_plan_uses_index_for_word_of_every_post(filled: Connection, reader_id: bool, mode: str) -> None:
    statement = post_search.search_statement(**UNFILTERED | {"after": None, "reader_id": reader_id})
    plan = _plan(filled, statement, mode=mode, query="content", limit=20, reader_id=LOW)
    assert plan.count("Bitmap Index Scan on ix_posts_title_tokens") == 3  # one per rank, and one that excludes titles


@pytest.mark.parametrize(("after", "scans"), [(None, 1), (True, 2), (False, 1)])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_first_page_of_search_scans_posts_once(filled: Connection, after: bool | None, scans: int, mode: str) -> None:
    statement = post_search.search_statement(**UNFILTERED | {"after": after})
    plan = _plan(filled, statement, mode=mode, query="content", limit=20, after=HALF)
    assert plan.count("Index Scan Backward using ix_posts_id") == scans


def _blocks_read(connection: Connection, query: str, **filters: Any) -> int:
    """Return the number of blocks that the first page of a search reads."""
    statement = post_search.search_statement(**UNFILTERED | {"after": None} | filters)
    words = post_search.to_tsquery(parse_query(query))
    return _blocks(connection, statement, query=words, limit=20, after=HALF, reader_id=LOW)


def _blocks(connection: Connection, statement: ClauseElement, **parameters: Any) -> int:
    """Return the number of blocks that a statement reads."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_sql(statement)}"
    rows = connection.execute(explain.encode(), parameters).fetchall()
    plan: Any = rows[0][0]
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


@pytest.mark.parametrize(
    "query", ["title", "content", "even", "rare", "even odd", "content rare", "nowhere", "title no", "ra*", "con* e*"]
)
def test_search_reads_few_blocks(common_words: Connection, query: str) -> None:
    assert _blocks_read(common_words, query) < 5_000


@pytest.mark.parametrize("query", ["title", "rare", "title rare", "nowhere", "no*"])
@pytest.mark.parametrize("reader_id", [False, True])
def test_search_reads_few_blocks_of_long_posts(long_posts: Connection, reader_id: bool, query: str) -> None:
    assert _blocks_read(long_posts, query, after=False, reader_id=reader_id) < 5_000


@pytest.mark.parametrize("table", ["users", "posts"])
def test_update_without_indexed_columns_writes_no_index(databases: Databases, table: str) -> None:
    url = databases.clone()
    with connected(url) as connection, connection.transaction(force_rollback=True):
        connection.execute(ROWS.replace("(1, 20)", "(1, 500)").replace("(1, 250)", "(1, 4)").encode())
        some = SQL("SELECT id FROM {} TABLESAMPLE BERNOULLI (3) REPEATABLE (1)").format(Identifier(table))
        connection.execute(
            SQL("UPDATE {} SET version = 2, updated_at = now() WHERE id IN ({})").format(Identifier(table), some)
        )
        updated, hot = [
            _value(connection, f"SELECT pg_stat_get_xact_tuples_{kind}('{table}'::regclass)")
            for kind in ("updated", "hot_updated")
        ]
    databases.drop(url)
    assert hot == updated > 5


@pytest.mark.parametrize(("changes", "hot"), [({}, 1), ({"title": "other"}, 0)])
def test_update_of_the_same_text_writes_no_index(filled: Connection, changes: dict[str, Any], hot: int) -> None:
    user = make_user()
    post = make_post(user, content=" ".join(f"{n}compressible" for n in range(100)))
    after = next_version(post, **changes)
    with filled.transaction(force_rollback=True):
        filled.execute("TRUNCATE posts")  # the page of the post has space
        filled.execute(_sql(users._ADD).encode(), users._MAPPER.values(user) | ACTOR)
        filled.execute(_sql(posts._ADD.one).encode(), post_search.MAPPER.values(post) | ACTOR)
        parameters = post_search.MAPPER.values(after) | post_search.MAPPER.stored(post, post.version) | ACTOR
        before = _value(filled, HOT_UPDATES)  # includes earlier transactions of the session
        assert len(filled.execute(_sql(posts._UPDATE).encode(), parameters).fetchall()) == 1
        assert _value(filled, HOT_UPDATES) - before == hot
