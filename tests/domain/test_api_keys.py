"""Tests for API keys."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.clock import new_id
from domain.api_keys import (
    USER_SCOPES,
    ApiKey,
    ApiKeyHash,
    Scope,
)
from domain.errors import FieldValidationError
from tests.support.factories import created, make_api_key

NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LATER = NOW + timedelta(days=1)
EXAMPLE = make_api_key(
    created_at=NOW,
    expires_at=None,
    last_used_at=None,
    secret_hash=ApiKeyHash(pepper=3, digest=b"d1gest"),
    scopes=frozenset({Scope.POSTS_READ}),
)
USER_ID = new_id()
OTHER_SCOPES = sorted(set(Scope) - USER_SCOPES)


def create(**fields: Any) -> ApiKey:
    return created(ApiKey.create, EXAMPLE, now=NOW, **fields)


def test_key_create_stores_every_argument() -> None:
    key = make_api_key(created_at=NOW, last_used_at=None, user_id=USER_ID, scopes=frozenset({Scope.POSTS_READ}))
    assert created(ApiKey.create, key, now=NOW) == key
    assert create(name=" Zoë's App\u3000").name == "Zoë's App"
    scopes = [Scope.POSTS_WRITE, Scope.USERS_READ, Scope.POSTS_WRITE]
    assert create(scopes=scopes).scopes == frozenset(scopes)


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []},
        *[{"user_id": USER_ID, "scopes": [Scope.POSTS_READ, scope]} for scope in OTHER_SCOPES],
        *[{"expires_at": end} for end in (NOW, NOW - SECOND)],
        *[{"name": name} for name in ("", " ", "\u200b", "x" * 101, "two\nlines", "\x1b[2J", "\ud800")],
    ],
)
def test_key_create_raises_for_invalid_field(fields: dict[str, Any]) -> None:
    with pytest.raises(FieldValidationError) as raised:
        create(**fields)
    assert raised.value.field == list(fields)[-1]


def test_key_create_accepts_every_scope_unless_bound_to_a_user() -> None:
    assert create(scopes=Scope).scopes == set(Scope)
    assert create(user_id=USER_ID, scopes=USER_SCOPES).scopes == USER_SCOPES
    assert OTHER_SCOPES == [Scope.AUDIT_READ, Scope.KEYS_ADMIN, Scope.METRICS_READ]


def test_key_is_active_until_its_expiry() -> None:
    key = create(expires_at=LATER)
    assert key.is_active(NOW)
    assert key.is_active(LATER - SECOND)
    assert not key.is_active(LATER)
    assert create().is_active(datetime.max.replace(tzinfo=UTC))


def test_revoked_key_is_inactive_and_keeps_its_first_time() -> None:
    revoked = create(expires_at=LATER).revoke(NOW + SECOND)
    assert revoked.revoked_at == NOW + SECOND
    assert not revoked.is_active(NOW)
    assert not revoked.is_active(NOW + SECOND)
    assert revoked.revoke(LATER) is revoked


def test_key_expiry_moves_only_to_earlier_times() -> None:
    key = create().expire_at(LATER)
    assert key.expires_at == LATER
    assert key.expire_at(LATER) is key
    assert key.expire_at(LATER + SECOND) is key
    assert key.expire_at(LATER - SECOND).expires_at == LATER - SECOND


def test_key_last_use_moves_only_to_later_times() -> None:
    key = create().record_use(LATER)
    assert key.last_used_at == LATER
    assert key.record_use(LATER) is key
    assert key.record_use(NOW) is key
    assert key.record_use(LATER + SECOND).last_used_at == LATER + SECOND


Change = Callable[[ApiKey, datetime], ApiKey]
all_changes = st.tuples(st.sampled_from([ApiKey.revoke, ApiKey.expire_at, ApiKey.record_use]), st.integers(0, 9))


@given(st.lists(all_changes, max_size=9))
def test_inactive_key_stays_inactive_for_any_changes(changes: list[tuple[Change, int]]) -> None:
    key = create(expires_at=NOW + 9 * SECOND)
    for change, seconds in changes:
        was_active = {number for number in range(20) if key.is_active(NOW + number * SECOND)}
        key = change(key, NOW + seconds * SECOND)
        assert {number for number in range(20) if key.is_active(NOW + number * SECOND)} <= was_active


def test_key_repr_hides_the_secret_hash() -> None:
    assert "d1gest" not in repr(create())
