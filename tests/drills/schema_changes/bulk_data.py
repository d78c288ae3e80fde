"""Rows before a drill: hundreds of thousands of posts, as in a service in use."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import URL

from adapters.testing.template_databases import Connection, connected

POSTS_OF_A_USER = 100
SAMPLE = 200
NAMES = r"^Before \d|@before\.example\.org$"
"""Pattern of the names of these rows only."""

# One row per minute until now. Each key has the time of its row, as in UUIDv7.
_MADE = "date_trunc('minute', now()) - make_interval(mins => {rows} - n)"
_KEY = """(
    lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0') || '7' || substr(digest, 1, 3) || '8'
    || substr(digest, 4, 15)
)::uuid"""
_USERS = f"""
    INSERT INTO users (id, email, email_normalized, full_name, is_active, created_at, updated_at, version)
    SELECT {_KEY}, n || '@before.example.org', n || '@before.example.org', 'Number ' || n, true, made, made, 1
    FROM generate_series(1, %(users)s) AS n, LATERAL (SELECT {_MADE.format(rows="%(users)s")}, md5('user ' || n))
        AS row (made, digest)
"""  # noqa: S608 - constants only
_POSTS = f"""
    WITH authors AS MATERIALIZED (SELECT array_agg(id) AS ids FROM users)
    INSERT INTO posts (author_id, id, title, content, title_tokens, text_tokens,
                       status, published_at, created_at, updated_at, version)
    SELECT authors.ids[1 + n %% %(users)s], {_KEY}, title, content,
           strip(to_tsvector('simple', title)), strip(to_tsvector('simple', title || ' ' || content)),
           CASE n %% 4 WHEN 0 THEN 'draft' ELSE 'published' END, CASE n %% 4 WHEN 0 THEN NULL ELSE made END,
           made, made, 1
    FROM authors, generate_series(1, %(posts)s) AS n,
         LATERAL (SELECT {_MADE.format(rows="%(posts)s")}, md5('post ' || n)) AS row (made, digest),
         LATERAL (SELECT format('Before %%s: of subject %%s and place %%s', n, n %% 977, n %% 7919),
                         format('On day %%s there was a word%%s about it, ', n %% 365, n %% 9973)
                             || repeat('and much else that is said in posts; ', 1 + n %% 10)) AS text (title, content)
"""  # noqa: S608 - constants only
_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = 'posts'::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""
_OURS = "FROM posts WHERE title LIKE 'Before %%'"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkData:
    """Number of posts, and a sample of post ids and author ids."""

    posts: int
    sample: Sequence[str]
    authors: Sequence[str]


def insert_bulk_data(database: URL, posts: int) -> BulkData:
    """Insert posts, and a hundredth as many users, into an empty database."""
    users = max(1, posts // POSTS_OF_A_USER)
    with connected(database) as connection:
        connection.execute(_USERS, {"users": users})
        with _without_indexes(connection):
            connection.execute(_POSTS, {"users": users, "posts": posts})
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")
        some = f"{_OURS} ORDER BY md5(id::text) LIMIT {SAMPLE}"
        sample, authors = zip(*connection.execute(f"SELECT id::text, author_id::text {some}"), strict=True)
    return BulkData(posts=posts, sample=sample, authors=sorted(set(authors)))


@contextmanager
def _without_indexes(connection: Connection) -> Iterator[None]:
    """Build the indexes of posts after the block, which takes a fraction of the time."""
    indexes = connection.execute(_INDEXES).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    yield
    connection.execute("SET maintenance_work_mem = '256MB'")
    for _, definition in indexes:
        connection.execute(str(definition))
    connection.execute("RESET maintenance_work_mem")


def count_rows(connection: Connection) -> tuple[int, int]:
    """Return the number of these posts, and the number of their updates."""
    (found,) = connection.execute(f"SELECT count(*), coalesce(sum(version - 1), 0) {_OURS}").fetchall()
    return int(str(found[0])), int(str(found[1]))
