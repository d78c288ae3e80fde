"""Tests for posts."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import FieldValidationError
from domain.posts import (
    ALLOWED_TRANSITIONS,
    AuthorInactiveError,
    AuthorNotFoundError,
    InvalidStatusTransitionError,
    Post,
    PostChanges,
    PostStatus,
    require_active_author,
)
from tests.support.factories import created, make_post, make_user

DRAFT, PUBLISHED, ARCHIVED = PostStatus.DRAFT, PostStatus.PUBLISHED, PostStatus.ARCHIVED
NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
AUTHOR = make_user()
EXAMPLE = make_post(AUTHOR, title="T", content="C", status=DRAFT, created_at=NOW, updated_at=NOW)
ALLOWED = {(DRAFT, PUBLISHED), (PUBLISHED, ARCHIVED), (ARCHIVED, PUBLISHED)}


def create(**fields: Any) -> Post:
    return created(Post.create, EXAMPLE, now=NOW, **fields)


def test_post_create_raises_for_status_archived() -> None:
    with pytest.raises(FieldValidationError) as raised:
        create(status=ARCHIVED)
    assert raised.value.field == "status"


def test_require_active_author_raises_unless_user_is_active() -> None:
    require_active_author(AUTHOR)
    with pytest.raises(AuthorInactiveError):
        require_active_author(make_user(is_active=False))
    with pytest.raises(AuthorNotFoundError):
        require_active_author(None)


@pytest.mark.parametrize(("before", "after"), list(product(PostStatus, PostStatus)))
def test_post_update_makes_only_allowed_transitions(before: PostStatus, after: PostStatus) -> None:
    post = make_post(AUTHOR, status=before)
    if before is after:
        assert post.update(now=LATER, status=after) is post
    elif (before, after) in ALLOWED:
        assert post.update(now=LATER, status=after).status is after
    else:
        with pytest.raises(InvalidStatusTransitionError, match=f"{before} to {after}"):
            post.update(now=LATER, status=after)
    assert (after in ALLOWED_TRANSITIONS[before]) == ((before, after) in ALLOWED)


def test_post_keeps_the_time_of_its_first_publication() -> None:
    post = EXAMPLE.update(now=LATER, status=PUBLISHED)
    assert post.published_at == LATER
    for status in (ARCHIVED, PUBLISHED):
        post = post.update(now=LATER + timedelta(days=1), status=status)
        assert post.published_at == LATER


all_changes = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["T", " T", "U"]),
        "content": st.sampled_from(["C", "C\r\nD", "C\nD"]),
        "status": st.sampled_from(PostStatus),
    },
)


@given(st.sampled_from([DRAFT, PUBLISHED]), st.lists(all_changes, max_size=12))
def test_post_lifecycle_holds_for_any_updates(first: PostStatus, steps: list[PostChanges]) -> None:
    post = create(status=first)
    for number, changes in enumerate(steps, start=1):
        try:
            after = post.update(now=NOW + timedelta(seconds=number), **changes)
        except InvalidStatusTransitionError:
            continue
        differs = (after.title, after.content, after.status) != (post.title, post.content, post.status)
        assert (after is post) == (not differs)
        assert after.version == post.version + differs
        assert (after.status is DRAFT) == (after.published_at is None)
        assert post.published_at in {None, after.published_at}
        assert after.status is post.status or (post.status, after.status) in ALLOWED
        post = after
