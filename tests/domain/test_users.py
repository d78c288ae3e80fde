"""A user's life."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConflictError, InvalidValueError, NotFoundError
from domain.users import EmailAlreadyRegisteredError, User, UserChanges, UserNotFoundError

NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ID = UUID(int=7)


def registered(**fields: Any) -> User:
    usual: dict[str, Any] = {"email": "ada@example.org", "full_name": "Ada", "is_active": True}
    return User.registered(id=ID, now=NOW, **(usual | fields))


def test_a_new_user_is_what_was_asked_for() -> None:
    assert registered(email="Zoë@Example.org", full_name="  Zoë  ", is_active=False) == User(
        id=ID,
        email="Zoë@Example.org",
        full_name="Zoë",
        is_active=False,
        created_at=NOW,
        updated_at=NOW,
        version=1,
    )


def test_a_user_needs_no_name() -> None:
    assert registered(full_name=None).full_name is None


@pytest.mark.parametrize(("field", "wrong"), [("email", "ada"), ("full_name", ""), ("full_name", "x" * 201)])
def test_a_rule_is_kept_from_the_start_and_at_every_change(field: str, wrong: str) -> None:
    with pytest.raises(InvalidValueError) as raised:
        registered(**{field: wrong})
    assert raised.value.field == field
    with pytest.raises(InvalidValueError) as raised:
        registered().changed(now=LATER, **{field: wrong})  # type: ignore[arg-type]
    assert raised.value.field == field


@pytest.mark.parametrize(
    "changes", [{"email": "Ada@example.org"}, {"full_name": "A"}, {"full_name": None}, {"is_active": False}]
)
def test_a_change_counts_and_touches_nothing_else(changes: UserChanges) -> None:
    before = registered()
    after = before.changed(now=LATER, **changes)
    assert (after.version, after.updated_at, after.created_at, after.id) == (2, LATER, NOW, ID)
    fields = ("email", "full_name", "is_active")
    assert {f: getattr(after, f) for f in fields} == {f: getattr(before, f) for f in fields} | changes
    assert before == registered()


@pytest.mark.parametrize(
    "changes", [{}, {"email": "ada@example.org"}, {"full_name": " Ada "}, {"is_active": True, "full_name": "Ada"}]
)
def test_a_change_that_changes_nothing_is_none(changes: UserChanges) -> None:
    user = registered()
    assert user.changed(now=LATER, **changes) is user


def test_time_does_not_run_backwards() -> None:
    user = registered().changed(now=LATER, is_active=False)
    assert user.changed(now=NOW, is_active=True).updated_at == LATER


def test_a_user_cannot_be_altered_in_place() -> None:
    with pytest.raises(AttributeError):
        registered().email = "else@example.org"  # type: ignore[misc]
    assert not hasattr(registered(), "__dict__")


def test_the_errors_are_of_their_kinds() -> None:
    assert isinstance(UserNotFoundError(), NotFoundError)
    assert isinstance(EmailAlreadyRegisteredError(), ConflictError)
    assert isinstance(InvalidValueError("x", "y"), ValueError)


all_changes = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(["ada@example.org", "Ada@example.org", "bob@example.org"]),
        "full_name": st.sampled_from([None, "Ada", " Ada", "Bob"]),
        "is_active": st.booleans(),
    },
)


@given(st.lists(all_changes, max_size=12))
def test_the_version_counts_the_changes(changes: list[UserChanges]) -> None:
    user = registered()
    for number, change in enumerate(changes):
        after = user.changed(now=NOW + timedelta(seconds=number), **change)
        differs = (after.email, after.full_name, after.is_active) != (user.email, user.full_name, user.is_active)
        assert (after is user) == (not differs)
        assert after.version == user.version + differs
        assert after.updated_at >= user.updated_at
        user = after
