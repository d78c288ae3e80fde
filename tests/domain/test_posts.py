"""A post's life: draft -> published <-> archived."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConflictError, InvalidValueError, NotFoundError
from domain.posts import (
    NEXT_STATUSES,
    AuthorInactiveError,
    AuthorNotFoundError,
    InvalidTransitionError,
    Post,
    PostChanges,
    PostNotFoundError,
    PostStatus,
    require_author,
)
from domain.users import User

DRAFT, PUBLISHED, ARCHIVED = PostStatus.DRAFT, PostStatus.PUBLISHED, PostStatus.ARCHIVED
NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
AUTHOR = User.registered(id=UUID(int=7), email="ada@example.org", full_name=None, is_active=True, now=NOW)
INACTIVE = AUTHOR.changed(now=NOW, is_active=False)
ALLOWED = {(DRAFT, PUBLISHED), (PUBLISHED, ARCHIVED), (ARCHIVED, PUBLISHED)}


def written(**fields: Any) -> Post:
    usual: dict[str, Any] = {"author_id": AUTHOR.id, "title": "T", "content": "C", "status": DRAFT}
    return Post.written(id=UUID(int=8), now=NOW, **(usual | fields))


def in_status(status: PostStatus) -> Post:
    post = written(status=DRAFT if status is DRAFT else PUBLISHED)
    return post.changed(now=NOW, status=ARCHIVED) if status is ARCHIVED else post


@pytest.mark.parametrize(("status", "published_at"), [(DRAFT, None), (PUBLISHED, NOW)])
def test_a_new_post_is_what_was_asked_for(status: PostStatus, published_at: datetime | None) -> None:
    assert written(title=" T ", content="\nC\r\nD\n", status=status) == Post(
        id=UUID(int=8),
        author_id=AUTHOR.id,
        title="T",
        content="C\nD",
        status=status,
        published_at=published_at,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


def test_no_post_starts_in_the_archive() -> None:
    with pytest.raises(InvalidValueError) as raised:
        written(status=ARCHIVED)
    assert raised.value.field == "status"


def test_an_author_is_there_and_active() -> None:
    require_author(AUTHOR)
    with pytest.raises(AuthorInactiveError):
        require_author(INACTIVE)
    with pytest.raises(AuthorNotFoundError):
        require_author(None)


@pytest.mark.parametrize(
    ("field", "wrong"), [("title", " "), ("title", "x" * 201), ("content", ""), ("content", "x" * 2001)]
)
def test_a_rule_is_kept_from_the_start_and_at_every_change(field: str, wrong: str) -> None:
    with pytest.raises(InvalidValueError) as raised:
        written(**{field: wrong})
    assert raised.value.field == field
    with pytest.raises(InvalidValueError) as raised:
        written().changed(now=LATER, **{field: wrong})  # type: ignore[arg-type]
    assert raised.value.field == field


@pytest.mark.parametrize(("before", "after"), list(product(PostStatus, PostStatus)))
def test_a_post_goes_the_ways_there_are_and_no_other(before: PostStatus, after: PostStatus) -> None:
    post = in_status(before)
    if before is after:
        assert post.changed(now=LATER, status=after) is post
    elif (before, after) in ALLOWED:
        assert post.changed(now=LATER, status=after).status is after
    else:
        with pytest.raises(InvalidTransitionError, match=f"{before} cannot become {after}"):
            post.changed(now=LATER, status=after)
    assert (after in NEXT_STATUSES[before]) == ((before, after) in ALLOWED)


def test_the_time_of_the_first_publication_stays() -> None:
    post = written().changed(now=LATER, status=PUBLISHED)
    assert post.published_at == LATER
    for status in (ARCHIVED, PUBLISHED):
        post = post.changed(now=LATER + timedelta(days=1), status=status)
        assert post.published_at == LATER


@pytest.mark.parametrize("changes", [{}, {"title": " T "}, {"content": "C\r\n"}, {"status": DRAFT, "title": "T"}])
def test_a_change_that_changes_nothing_is_none(changes: PostChanges) -> None:
    post = written()
    assert post.changed(now=LATER, **changes) is post


@pytest.mark.parametrize("changes", [{"title": "New"}, {"content": "New"}, {"status": PUBLISHED}])
def test_a_change_counts_and_touches_nothing_else(changes: PostChanges) -> None:
    before = written()
    after = before.changed(now=LATER, **changes)
    assert (after.version, after.updated_at, after.created_at) == (2, LATER, NOW)
    assert (after.id, after.author_id) == (before.id, before.author_id)
    fields = ("title", "content", "status")
    assert {f: getattr(after, f) for f in fields} == {f: getattr(before, f) for f in fields} | changes


def test_time_does_not_run_backwards() -> None:
    post = written().changed(now=LATER, title="New")
    assert post.changed(now=NOW, title="Newer").updated_at == LATER


def test_a_post_cannot_be_altered_in_place() -> None:
    with pytest.raises(AttributeError):
        written().title = "else"  # type: ignore[misc]
    assert not hasattr(written(), "__dict__")


def test_the_errors_are_of_their_kinds() -> None:
    assert isinstance(PostNotFoundError(), NotFoundError)
    assert isinstance(AuthorInactiveError(), ConflictError)
    assert isinstance(InvalidTransitionError(DRAFT, ARCHIVED), ConflictError)
    assert AuthorNotFoundError().field == "author_id"


all_changes = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["T", " T", "U"]),
        "content": st.sampled_from(["C", "C\r\nD", "C\nD"]),
        "status": st.sampled_from(PostStatus),
    },
)


@given(st.sampled_from([DRAFT, PUBLISHED]), st.lists(all_changes, max_size=12))
def test_whatever_happens_the_rules_of_a_life_hold(first: PostStatus, steps: list[PostChanges]) -> None:
    post = written(status=first)
    for number, changes in enumerate(steps, start=1):
        try:
            after = post.changed(now=NOW + timedelta(seconds=number), **changes)
        except InvalidTransitionError:
            continue
        differs = (after.title, after.content, after.status) != (post.title, post.content, post.status)
        assert (after is post) == (not differs)
        assert after.version == post.version + differs
        assert (after.status is DRAFT) == (after.published_at is None)
        assert post.published_at in {None, after.published_at}
        assert after.status is post.status or (post.status, after.status) in ALLOWED
        post = after
