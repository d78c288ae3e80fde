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

from adapters.postgres.models import POSTS, TEXT_TOKENS, TITLE_TOKENS
from adapters.postgres.row_mapper import RowMapper
from domain.posts import Post, PostStatus

_STATUSES = {str(status): status for status in PostStatus}


MAPPER: RowMapper[Post] = RowMapper(
    POSTS, Post, read={"status": _STATUSES.__getitem__}, write={"status": lambda post: str(post.status)}
)
Where = Collection[sa.ColumnElement[bool]]

# The scan budget per requested post before the search index is used: posts, and bytes of text. To tokenize 1,000 bytes
# takes about 0.2 ms.
_SCAN_ROWS_PER_ITEM = sa.literal_column("25", sa.BigInteger)
_SCAN_BYTES_PER_ITEM = sa.literal_column("3000", sa.BigInteger)
_LIMIT = sa.bindparam("limit", type_=sa.BigInteger)
_QUERY = sa.cast(sa.bindparam("query", type_=sa.Text), TSQUERY)
_AFTER = POSTS.c.id < sa.bindparam("after")
_OWN = POSTS.c.author_id == sa.bindparam("reader_id")


def _has_status(status: PostStatus) -> sa.ColumnElement[bool]:
    return POSTS.c.status == sa.literal_column(f"'{status}'", sa.Text)


READABLE = sa.or_(_OWN, _has_status(PostStatus.PUBLISHED))
_IN_TITLE = TITLE_TOKENS.bool_op("@@")(_QUERY)
_IN_TEXT = TEXT_TOKENS.bool_op("@@")(_QUERY)
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


def all_of(tokens: Collection[str]) -> str:
    """Return the tsquery that matches all these tokens."""
    return " & ".join("'" + word.replace("\\", r"\\").replace("'", "''") + "'" for word in sorted(tokens))


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
    if after is False:
        sources = _sources(after_last, in_title=False, reader_id=reader_id)
    else:
        first = sa.union_all(*_sources(after_last, in_title=True, reader_id=reader_id)).cte("first")
        rest = _sources([*where, _count(first) < _LIMIT], in_title=False, reader_id=reader_id)
        sources = [sa.select(*first.c), *rest]
    both = sa.union_all(*sources).subquery("found")
    return sa.select(*both.c).order_by(both.c.in_title.desc(), both.c.id.desc()).limit(_LIMIT)


def _conditions(*, author_id: bool, status: PostStatus | None) -> list[sa.ColumnElement[bool]]:
    author = [POSTS.c.author_id == sa.bindparam("author_id")] if author_id else []
    return author if status is None else [*author, _has_status(status)]


def _sources(where: Where, *, in_title: bool, reader_id: bool) -> list[sa.Select[Any]]:
    """Return two statements for the newest posts of one rank, only one of which returns rows.

    The planner assumes that tokens are independent of each other and of time, and has statistics only after ANALYZE.
    Therefore it does not choose the plan. Frequent tokens are found in a short scan from new to old. If the scan does
    not find enough posts, all matches of the search index are sorted.
    """
    rank = (sa.true() if in_title else sa.false()).label("in_title")
    has = [_IN_TITLE] if in_title else [_IN_TEXT, sa.not_(_IN_TITLE)]
    scanned = _scan_budget(
        _newest(where, reader_id=reader_id, max_rows=_SCAN_ROWS_PER_ITEM * _LIMIT), in_title=in_title
    )
    scan = sa.select(*scanned.c[:-1], rank).where(scanned.c.length <= _SCAN_BYTES_PER_ITEM * _LIMIT, *has)
    hits = scan.order_by(scanned.c.id.desc()).limit(_LIMIT).cte("title_hits" if in_title else "text_hits")
    sorted_where = [*where, _count(hits) < _LIMIT, *([READABLE] if reader_id else [])]
    newest = _sorted(sorted_where, in_title=in_title)
    return [
        sa.select(*hits.c).where(_count(hits) >= _LIMIT),
        sa.select(*MAPPER.columns, rank).where(POSTS.c.id == sa.func.any(sa.func.array(newest.scalar_subquery()))),
    ]


def _scan_budget(posts: sa.Select[Any], *, in_title: bool) -> sa.Subquery:
    """Return these posts with `length`: the bytes of text of the post and all newer ones."""
    each = posts.subquery("posts")
    title, content = sa.func.octet_length(each.c.title), sa.func.octet_length(each.c.content)
    length = sa.func.sum(title if in_title else title + content).over(order_by=each.c.id.desc(), rows=(None, 0))
    return sa.select(*each.c, length.label("length")).subquery("posts")


def _sorted(where: Where, *, in_title: bool) -> sa.Select[Any]:
    """Return the statement for the IDs of the newest posts of one rank among all matches of the search index."""
    # Not in the order of the ID index, which would tokenize each text.
    ids = _indexed(where, in_title=in_title).subquery("ids")
    newest = sa.select(ids.c.id).order_by(ids.c.id.desc()).limit(_LIMIT)
    if in_title:
        return newest
    # Both from the search index: to tokenize each title would take ten times as long.
    titles = _indexed(where, in_title=True).subquery("titles")
    return newest.where(sa.not_(sa.exists().where(titles.c.id == ids.c.id)))


def _indexed(where: Where, *, in_title: bool) -> sa.Select[Any]:
    """Return the statement for the IDs of all matches of the search index, without order."""
    has = (TITLE_TOKENS if in_title else TEXT_TOKENS).bool_op("@@")(_UNSEEN)
    # OFFSET 0 is an optimization fence.
    return sa.select(POSTS.c.id).where(*where, has).offset(sa.literal_column("0"))


def _count(rows: sa.CTE) -> sa.ColumnElement[int]:
    return sa.select(sa.func.count()).select_from(rows).scalar_subquery()


def _newest(where: Where, *, reader_id: bool, max_rows: sa.ColumnElement[int] = _LIMIT) -> sa.Select[Any]:
    """Return the statement for the newest posts that match a filter."""
    newest = MAPPER.select().where(*where).order_by(POSTS.c.id.desc()).limit(max_rows)
    if not reader_id:
        return newest
    both = sa.union_all(newest.where(_OWN), newest.where(_has_status(PostStatus.PUBLISHED))).subquery()
    return sa.select(*both.c).ext(distinct_on(both.c.id)).order_by(both.c.id.desc()).limit(max_rows)
