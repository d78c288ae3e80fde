"""A key's life."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidValueError, NotFoundError
from domain.keys import (
    USER_SCOPES,
    ApiKey,
    ApiKeyNotFoundError,
    HashedSecret,
    KeyUserNotFoundError,
    Scope,
    clean_key_name,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LATER = NOW + timedelta(days=1)
SECRET = HashedSecret(pepper=3, digest=b"d1gest")
REACHING = sorted(set(Scope) - USER_SCOPES)


def created(**fields: Any) -> ApiKey:
    usual: dict[str, Any] = {"name": "App", "scopes": [Scope.POSTS_READ], "user_id": None, "expires_at": None}
    return ApiKey.created(id=UUID(int=7), secret=SECRET, now=NOW, **(usual | fields))


def test_a_new_key_is_what_was_asked_for() -> None:
    key = created(
        name=" Zoë's App\u3000",
        scopes=[Scope.POSTS_WRITE, Scope.USERS_READ, Scope.POSTS_WRITE],
        user_id=UUID(int=8),
        expires_at=LATER,
    )
    assert key == ApiKey(
        id=UUID(int=7),
        name="Zoë's App",
        scopes=frozenset({Scope.POSTS_WRITE, Scope.USERS_READ}),
        user_id=UUID(int=8),
        secret=SECRET,
        created_at=NOW,
        expires_at=LATER,
        last_used_at=None,
        revoked_at=None,
    )


def test_a_key_has_a_scope() -> None:
    with pytest.raises(InvalidValueError) as raised:
        created(scopes=[])
    assert raised.value.field == "scopes"


@pytest.mark.parametrize("scope", Scope)
def test_a_key_that_is_bound_to_nobody_can_have_every_scope(scope: Scope) -> None:
    assert created(scopes=[scope]).scopes == {scope}


def test_a_key_that_is_bound_to_a_user_can_have_all_scopes_of_users_and_posts() -> None:
    assert created(user_id=UUID(int=8), scopes=USER_SCOPES).scopes == USER_SCOPES


@pytest.mark.parametrize("scope", REACHING)
def test_a_key_that_is_bound_to_a_user_reaches_no_further(scope: Scope) -> None:
    with pytest.raises(InvalidValueError) as raised:
        created(user_id=UUID(int=8), scopes=[Scope.POSTS_READ, scope])
    assert raised.value.field == "scopes"


def test_what_reaches_beyond_a_user_is_keys_and_metrics() -> None:
    assert REACHING == [Scope.KEYS_ADMIN, Scope.METRICS_READ]


@pytest.mark.parametrize("end", [NOW, NOW - SECOND])
def test_a_key_ends_in_the_future(end: datetime) -> None:
    with pytest.raises(InvalidValueError) as raised:
        created(expires_at=end)
    assert raised.value.field == "expires_at"


@pytest.mark.parametrize("wrong", ["", " ", "\u200b", "x" * 101, "two\nlines", "\x1b[2J", "\ud800"])
def test_a_name_is_a_line(wrong: str) -> None:
    with pytest.raises(InvalidValueError) as raised:
        created(name=wrong)
    assert raised.value.field == "name"


@pytest.mark.parametrize("right", ["x", "x" * 100, "🦉" * 100])
def test_a_name_has_1_to_100_characters(right: str) -> None:
    assert clean_key_name(right) == right


def test_a_key_is_live_until_its_end() -> None:
    key = created(expires_at=LATER)
    assert key.is_live(NOW)
    assert key.is_live(LATER - SECOND)
    assert not key.is_live(LATER)
    assert created().is_live(datetime.max.replace(tzinfo=UTC))


def test_a_key_that_was_revoked_is_not_live_at_any_time() -> None:
    revoked = created(expires_at=LATER).revoked(NOW + SECOND)
    assert revoked.revoked_at == NOW + SECOND
    assert not revoked.is_live(NOW)
    assert not revoked.is_live(NOW + SECOND)


def test_a_key_is_revoked_once() -> None:
    revoked = created().revoked(NOW)
    assert revoked.revoked(LATER) is revoked


def test_the_end_comes_nearer_and_never_moves_away() -> None:
    key = created().ending(LATER)
    assert key.expires_at == LATER
    assert key.ending(LATER) is key
    assert key.ending(LATER + SECOND) is key
    assert key.ending(LATER - SECOND).expires_at == LATER - SECOND


def test_the_last_use_is_the_latest() -> None:
    key = created().used(LATER)
    assert key.last_used_at == LATER
    assert key.used(LATER) is key
    assert key.used(NOW) is key
    assert key.used(LATER + SECOND).last_used_at == LATER + SECOND


@given(
    st.lists(
        st.tuples(st.sampled_from(["revoked", "ending", "used"]), st.integers(min_value=0, max_value=9)), max_size=9
    )
)
def test_a_key_that_is_not_live_never_comes_back(changes: list[tuple[str, int]]) -> None:
    key = created(expires_at=NOW + 9 * SECOND)
    for change, seconds in changes:
        was_live = {number for number in range(20) if key.is_live(NOW + number * SECOND)}
        key = getattr(key, change)(NOW + seconds * SECOND)
        assert {number for number in range(20) if key.is_live(NOW + number * SECOND)} <= was_live


def test_what_is_kept_of_the_secret_is_not_shown() -> None:
    assert "d1gest" not in repr(created())


def test_a_key_cannot_be_altered_in_place() -> None:
    with pytest.raises(AttributeError):
        created().revoked_at = None  # type: ignore[misc]
    assert not hasattr(created(), "__dict__")


def test_the_errors_are_of_their_kinds() -> None:
    assert isinstance(ApiKeyNotFoundError(), NotFoundError)
    assert isinstance(KeyUserNotFoundError(), InvalidValueError)
    assert KeyUserNotFoundError().field == "user_id"
