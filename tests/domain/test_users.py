"""Tests for users."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.users import UserChanges
from tests.support.factories import make_user

NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

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
    user = make_user(email="ada@example.org", full_name="Ada", updated_at=NOW)
    for number, change in enumerate(changes):
        after = user.update(now=NOW + timedelta(seconds=number), **change)
        differs = (after.email, after.full_name, after.is_active) != (user.email, user.full_name, user.is_active)
        assert (after is user) == (not differs)
        assert after.version == user.version + differs
        assert after.updated_at >= user.updated_at
        user = after
