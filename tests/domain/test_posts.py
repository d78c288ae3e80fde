"""Tests for posts."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ErrorKind, FieldValidationError
from domain.posts import (
    ALLOWED_TRANSITIONS,
    AuthorInactiveError,
    AuthorNotFoundError,
    InvalidStatusTransitionError,
    Post,
    PostChanges,
    PostNotFoundError,
    PostStatus,
    require_active_author,
)
from tests.support.factories import created, make_post, make_user, values

DRAFT, PUBLISHED, ARCHIVED = PostStatus.DRAFT, PostStatus.PUBLISHED, PostStatus.ARCHIVED
NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
AUTHOR = make_user()
EXAMPLE = make_post(AUTHOR, title="T", content="C", status=DRAFT, created_at=NOW, updated_at=NOW)
OTHER = make_post(AUTHOR)
ALLOWED = {(DRAFT, PUBLISHED), (PUBLISHED, ARCHIVED), (ARCHIVED, PUBLISHED)}


def create(**fields: Any) -> Post:
    return created(Post.create, EXAMPLE, now=NOW, **fields)


def test_post_create_stores_every_argument() -> None:
    assert create() == EXAMPLE
    published = make_post(AUTHOR, published_at=NOW, created_at=NOW, updated_at=NOW)
    assert created(Post.create, published, now=NOW) == published
    post = create(title=" T ", content="\nC\r\nD\n")
    assert (post.title, post.content) == ("T", "C\nD")


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


@pytest.mark.parametrize(
    ("field", "wrong"), [("title", " "), ("title", "x" * 201), ("content", ""), ("content", "x" * 2001)]
)
def test_post_create_and_update_raise_for_invalid_field(field: str, wrong: str) -> None:
    with pytest.raises(FieldValidationError) as raised:
        create(**{field: wrong})
    assert raised.value.field == field
    with pytest.raises(FieldValidationError) as raised:
        EXAMPLE.update(now=LATER, **{field: wrong})  # type: ignore[arg-type]
    assert raised.value.field == field


@pytest.mark.parametrize("field", [name for name, kind in get_type_hints(PostChanges).items() if kind is str])
def test_post_create_and_update_validate_every_text_field(field: str) -> None:
    with pytest.raises(FieldValidationError):
        create(**{field: "\0"})
    with pytest.raises(FieldValidationError):
        EXAMPLE.update(now=LATER, **{field: "\0"})  # type: ignore[arg-type]


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


@pytest.mark.parametrize("changes", [{}, {"title": " T "}, {"content": "C\r\n"}, {"status": DRAFT, "title": "T"}])
def test_noop_update_returns_the_same_post(changes: PostChanges) -> None:
    assert EXAMPLE.update(now=LATER, **changes) is EXAMPLE


@pytest.mark.parametrize("field", PostChanges.__annotations__)
def test_post_update_changes_the_named_field_alone(field: str) -> None:
    changes = values(OTHER, [field])
    after = EXAMPLE.update(now=LATER, **changes)
    published_at = LATER if field == "status" else None
    expected = changes | {"version": 2, "updated_at": LATER, "published_at": published_at}
    assert after == make_post(AUTHOR, **(values(EXAMPLE, Post.__slots__) | expected))
    assert after != EXAMPLE


def test_post_update_never_decreases_updated_at() -> None:
    post = EXAMPLE.update(now=LATER, title="New")
    assert post.update(now=NOW, title="Newer").updated_at == LATER


def test_post_is_immutable() -> None:
    with pytest.raises(AttributeError):
        EXAMPLE.title = "else"  # type: ignore[misc]
    assert not hasattr(EXAMPLE, "__dict__")


def test_post_errors_have_their_kinds() -> None:
    assert PostNotFoundError.kind is ErrorKind.NOT_FOUND
    assert AuthorInactiveError.kind is ErrorKind.CONFLICT
    assert InvalidStatusTransitionError.kind is ErrorKind.CONFLICT
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
