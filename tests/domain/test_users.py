"""Tests for users."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ErrorKind, FieldValidationError
from domain.users import EmailAlreadyRegisteredError, User, UserChanges, UserNotFoundError
from tests.support.factories import created, make_user, values

NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
EXAMPLE = make_user(email="ada@example.org", full_name="Ada", created_at=NOW, updated_at=NOW)
OTHER = make_user(is_active=False)


def create(**fields: Any) -> User:
    return created(User.create, EXAMPLE, now=NOW, **fields)


def test_user_create_stores_every_argument() -> None:
    assert create() == EXAMPLE
    assert create(full_name="  Zoë  ").full_name == "Zoë"
    assert create(full_name=None).full_name is None


@pytest.mark.parametrize(("field", "wrong"), [("email", "ada"), ("full_name", ""), ("full_name", "x" * 201)])
def test_user_create_and_update_raise_for_invalid_field(field: str, wrong: str) -> None:
    with pytest.raises(FieldValidationError) as raised:
        create(**{field: wrong})
    assert raised.value.field == field
    with pytest.raises(FieldValidationError) as raised:
        EXAMPLE.update(now=LATER, **{field: wrong})  # type: ignore[arg-type]
    assert raised.value.field == field


@pytest.mark.parametrize("field", [name for name, kind in get_type_hints(UserChanges).items() if kind is not bool])
def test_user_create_and_update_validate_every_text_field(field: str) -> None:
    with pytest.raises(FieldValidationError):
        create(**{field: "\0"})
    with pytest.raises(FieldValidationError):
        EXAMPLE.update(now=LATER, **{field: "\0"})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", UserChanges.__annotations__)
def test_user_update_changes_the_named_field_alone(field: str) -> None:
    changes = values(OTHER, [field])
    after = EXAMPLE.update(now=LATER, **changes)
    assert after == make_user(**(values(EXAMPLE, User.__slots__) | changes | {"version": 2, "updated_at": LATER}))
    assert after != EXAMPLE


@pytest.mark.parametrize(
    "changes", [{}, {"email": "ada@example.org"}, {"full_name": " Ada "}, {"is_active": True, "full_name": "Ada"}]
)
def test_noop_update_returns_the_same_user(changes: UserChanges) -> None:
    assert EXAMPLE.update(now=LATER, **changes) is EXAMPLE


def test_user_update_never_decreases_updated_at() -> None:
    user = EXAMPLE.update(now=LATER, is_active=False)
    assert user.update(now=NOW, is_active=True).updated_at == LATER


def test_user_is_immutable() -> None:
    with pytest.raises(AttributeError):
        EXAMPLE.email = "else@example.org"  # type: ignore[misc]
    assert not hasattr(EXAMPLE, "__dict__")


def test_user_errors_have_their_kinds() -> None:
    assert UserNotFoundError.kind is ErrorKind.NOT_FOUND
    assert EmailAlreadyRegisteredError.kind is ErrorKind.CONFLICT
    assert isinstance(FieldValidationError("x", "y"), ValueError)


all_changes = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(["ada@example.org", "Ada@example.org", "bob@example.org"]),
        "full_name": st.sampled_from([None, "Ada", " Ada", "Bob"]),
        "is_active": st.booleans(),
    },
)


@given(st.lists(all_changes, max_size=12))
def test_user_version_counts_the_updates(changes: list[UserChanges]) -> None:
    user = EXAMPLE
    for number, change in enumerate(changes):
        after = user.update(now=NOW + timedelta(seconds=number), **change)
        differs = (after.email, after.full_name, after.is_active) != (user.email, user.full_name, user.is_active)
        assert (after is user) == (not differs)
        assert after.version == user.version + differs
        assert after.updated_at >= user.updated_at
        user = after
