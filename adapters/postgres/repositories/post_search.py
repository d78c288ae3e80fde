"""SQL of lists and searches of posts.

Statuses are literals and not parameters, so that the planner can use the index of published posts. The posts that a
reader can read are two ranges of two indexes: their own posts and all published ones. Both yield their newest posts,
which are merged. The number of drafts by different users in between does not matter.
"""

from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSQUERY, distinct_on

from adapters.postgres.models import POSTS
from adapters.postgres.row_mapper import RowMapper
from domain.posts import Post, PostStatus
from domain.search_tokens import tokenize

_STATUSES = {str(status): status for status in PostStatus}


def to_tsvector(tokens: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the tsvector of tokens that spaces separate. A GIN index of tsvector finds prefixes, one of text[] not."""
    return sa.func.array_to_tsvector(sa.func.string_to_array(tokens, sa.literal_column("' '", sa.Text)))


TOKENS = {name: to_tsvector(sa.bindparam(name, type_=sa.Text)) for name in ("title_tokens", "text_tokens")}
"""The stored tokens of a written post."""
MAPPER: RowMapper[Post] = RowMapper(
    POSTS,
    Post,
    read={"status": _STATUSES.__getitem__},
    write={
        "status": lambda post: str(post.status),
        "title_tokens": lambda post: " ".join(tokenize(post.title)),
        "text_tokens": lambda post: " ".join(tokenize(post.text)),
    },
    write_only=frozenset(TOKENS),
    computed=TOKENS,
)
Where = Collection[sa.ColumnElement[bool]]

_SCAN_ROWS_PER_ITEM = sa.literal_column("25", sa.BigInteger)
"""The posts per requested post that a search reads before it uses the search index."""
_LIMIT = sa.bindparam("limit", type_=sa.BigInteger)
_QUERY = sa.cast(sa.bindparam("query", type_=sa.Text), TSQUERY)
_AFTER = POSTS.c.id < sa.bindparam("after")
_OWN = POSTS.c.author_id == sa.bindparam("reader_id")


def has_status(status: PostStatus) -> sa.ColumnElement[bool]:
    """Return the condition of a post with this status."""
    return POSTS.c.status == sa.literal_column(f"'{status}'", sa.Text)


READABLE = sa.or_(_OWN, has_status(PostStatus.PUBLISHED))
_TITLE, _TEXT = POSTS.c.title_tokens, POSTS.c.text_tokens
# Hidden from the planner, which then assumes that 1 post of 200 matches, and uses the index.
_UNSEEN = sa.select(_QUERY).scalar_subquery()


class PostFilter(NamedTuple):
    """A filter of posts: by author, by status, and by the reader who must be able to read them. None matches all."""

    author_id: UUID | None = None
    status: PostStatus | None = None
    reader_id: UUID | None = None

    def simplify(self) -> "PostFilter | None":
        """Return an equivalent filter without a reader, if possible. Return None if no post can match."""
        if self.reader_id is None or self.reader_id == self.author_id or self.status is PostStatus.PUBLISHED:
            return PostFilter(author_id=self.author_id, status=self.status)
        if self.author_id is not None:
            return PostFilter(author_id=self.author_id, status=PostStatus.PUBLISHED) if self.status is None else None
        return self if self.status is None else PostFilter(author_id=self.reader_id, status=self.status)

    def statement_arguments(self) -> dict[str, Any]:
        """Return the arguments of `list_statement` and `search_statement` for this filter."""
        return self._asdict() | {"author_id": self.author_id is not None, "reader_id": self.reader_id is not None}


def to_tsquery(terms: Collection[str]) -> str:
    """Return the tsquery that matches all these search terms."""
    return " & ".join(f"{_quote(term[:-1])}:*" if term.endswith("*") else _quote(term) for term in sorted(terms))


def _quote(token: str) -> str:
    return "'" + token.replace("\\", r"\\").replace("'", "''") + "'"


@cache
def list_statement(*, after: bool, author_id: bool, status: PostStatus | None, reader_id: bool) -> sa.Select[Any]:
    """Return the statement for a page of a list. A reader is combined neither with an author nor with a status."""
    where = [_AFTER] if after else []
    return _newest([*where, *_conditions(author_id=author_id, status=status)], reader_id=reader_id)


@cache
def search_statement(
    *, after: bool | None, author_id: bool, status: PostStatus | None, reader_id: bool
) -> sa.Select[Any]:
    """Return the statement for a page of search results. `in_title` follows the columns of the post.

    `after` is `in_title` of the last post on the previous page, None for the first page. Matches in titles come first.
    """
    where = _conditions(author_id=author_id, status=status)
    after_last = [*where, _AFTER] if after is not None else where
    scan = _scan(after_last, reader_id=reader_id)
    if after is False:
        sources = _sources(scan, after_last, in_title=False, reader_id=reader_id)
    else:
        first = sa.union_all(*_sources(scan, after_last, in_title=True, reader_id=reader_id)).cte("first")
        # The first page reads the rows of one scan for both ranks.
        rest_scan = _scan(where, reader_id=reader_id, name="rest") if after else scan
        rest = _sources(rest_scan, where, _count(first) < _LIMIT, in_title=False, reader_id=reader_id)
        sources = [sa.select(*first.c), *rest]
    both = sa.union_all(*sources).subquery("found")
    return sa.select(*both.c).order_by(both.c.in_title.desc(), both.c.id.desc()).limit(_LIMIT)


def _conditions(*, author_id: bool, status: PostStatus | None) -> list[sa.ColumnElement[bool]]:
    author = [POSTS.c.author_id == sa.bindparam("author_id")] if author_id else []
    return author if status is None else [*author, has_status(status)]


def _scan(where: Where, *, reader_id: bool, name: str = "scan") -> sa.CTE:
    """Return the matches among the newest posts, the newest first.

    The order lets PostgreSQL 17 and later read only as many posts as the page needs.
    """
    newest = _newest(
        where, reader_id=reader_id, max_rows=_SCAN_ROWS_PER_ITEM * _LIMIT, columns=(*MAPPER.columns, _TITLE, _TEXT)
    ).subquery("posts")
    columns = [newest.c[column.name] for column in MAPPER.columns]
    in_title = _matches(newest.c.title_tokens, _QUERY).label("in_title")
    matches = sa.select(*columns, in_title).where(_matches(newest.c.text_tokens, _QUERY))
    return matches.order_by(newest.c.id.desc()).cte(name)


def _sources(
    scan: sa.CTE, where: Where, *needed: sa.ColumnElement[bool], in_title: bool, reader_id: bool
) -> list[sa.Select[Any]]:
    """Return two statements for the newest posts of one rank, only one of which returns rows.

    The planner assumes that tokens are independent of each other and of time, and has statistics only after ANALYZE.
    Therefore it does not choose the plan. Frequent tokens are found in a short scan from new to old. If the scan does
    not find enough posts, all matches of the search index are sorted.
    """
    rank = (sa.true() if in_title else sa.false()).label("in_title")
    has_rank = scan.c.in_title if in_title else sa.not_(scan.c.in_title)
    newest_hits = sa.select(*scan.c).where(has_rank, *needed).order_by(scan.c.id.desc()).limit(_LIMIT)
    hits = newest_hits.cte("title_hits" if in_title else "text_hits")
    sorted_where = [*where, *needed, _count(hits) < _LIMIT, *([READABLE] if reader_id else [])]
    newest = _sorted(sorted_where, in_title=in_title)
    return [
        sa.select(*hits.c).where(_count(hits) >= _LIMIT),
        sa.select(*MAPPER.columns, rank).where(POSTS.c.id == sa.func.any(sa.func.array(newest.scalar_subquery()))),
    ]


def _matches(tokens: sa.ColumnElement[Any], query: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return tokens.bool_op("@@")(query)


def _sorted(where: Where, *, in_title: bool) -> sa.Select[Any]:
    """Return the statement for the IDs of the newest posts of one rank among all matches of the search index."""
    # Not in the order of the ID index, which would read each post.
    ids = _indexed(where, in_title=in_title).subquery("ids")
    newest = sa.select(ids.c.id).order_by(ids.c.id.desc()).limit(_LIMIT)
    if in_title:
        return newest
    # Both from the search index: to read the tokens of each title would take longer.
    titles = _indexed(where, in_title=True).subquery("titles")
    return newest.where(sa.not_(sa.exists().where(titles.c.id == ids.c.id)))


def _indexed(where: Where, *, in_title: bool) -> sa.Select[Any]:
    """Return the statement for the IDs of all matches of the search index, without order."""
    has = _matches(_TITLE if in_title else _TEXT, _UNSEEN)
    # OFFSET 0 is an optimization fence.
    return sa.select(POSTS.c.id).where(*where, has).offset(sa.literal_column("0"))


def _count(rows: sa.CTE) -> sa.ColumnElement[int]:
    return sa.select(sa.func.count()).select_from(rows).scalar_subquery()


def _newest(
    where: Where,
    *,
    reader_id: bool,
    max_rows: sa.ColumnElement[int] = _LIMIT,
    columns: Collection[sa.ColumnElement[Any]] = MAPPER.columns,
) -> sa.Select[Any]:
    """Return the statement for the newest posts that match a filter."""
    newest = sa.select(*columns).where(*where).order_by(POSTS.c.id.desc()).limit(max_rows)
    if not reader_id:
        return newest
    both = sa.union_all(newest.where(_OWN), newest.where(has_status(PostStatus.PUBLISHED))).subquery()
    return sa.select(*both.c).ext(distinct_on(both.c.id)).order_by(both.c.id.desc()).limit(max_rows)
