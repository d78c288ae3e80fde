"""Tests for the rules that entities share."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest

from domain.errors import FieldValidationError
from domain.posts import Post, PostChanges, PostStatus
from domain.users import User, UserChanges
from tests.support.factories import created, make_api_key, make_post, make_user, values

NOW = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
USER = make_user(email="ada@example.org", full_name="Ada", created_at=NOW, updated_at=NOW)
POST = make_post(USER, title="T", content="C", status=PostStatus.DRAFT, created_at=NOW, updated_at=NOW)
PUBLISHED = make_post(USER, published_at=NOW, created_at=NOW, updated_at=NOW)
CHANGED: dict[Any, Any] = {USER: make_user(is_active=False), POST: make_post(USER)}
"""Entities with a different value in every field that an update can change."""
CHANGES = [(USER, UserChanges), (POST, PostChanges)]
FIELDS = [(entity, field) for entity, changes in CHANGES for field in changes.__annotations__]
TEXTS = [(entity, field) for entity, field in FIELDS if get_type_hints(type(entity))[field] in {str, str | None}]
entities = pytest.mark.parametrize("entity", [USER, POST], ids=["user", "post"])


@pytest.mark.parametrize("entity", [USER, POST, PUBLISHED], ids=["user", "draft", "published post"])
def test_create_stores_every_argument(entity: Any) -> None:
    assert created(type(entity).create, entity, now=NOW) == entity


def test_create_sets_defaults_for_omitted_fields() -> None:
    user = User.create(id=USER.id, now=NOW, email="ada@example.org")
    assert (user.full_name, user.is_active) == (None, True)
    assert Post.create(id=POST.id, now=NOW, author_id=USER.id, title="T", content="C") == POST


@pytest.mark.parametrize(
    ("entity", "field", "text", "normalized"),
    [
        (USER, "full_name", "  Zoë  ", "Zoë"),
        (USER, "full_name", None, None),
        (POST, "title", " U ", "U"),
        (POST, "content", "\nC\r\nD\n", "C\nD"),
    ],
)
def test_create_and_update_normalize_text(entity: Any, field: str, text: str | None, normalized: str | None) -> None:
    assert getattr(created(type(entity).create, entity, now=NOW, **{field: text}), field) == normalized
    assert getattr(entity.update(now=LATER, **{field: text}), field) == normalized


@pytest.mark.parametrize(("entity", "field"), TEXTS)
def test_create_and_update_raise_for_invalid_text(entity: Any, field: str) -> None:
    for write in (entity.update, lambda **fields: created(type(entity).create, entity, **fields)):
        with pytest.raises(FieldValidationError) as raised:
            write(now=LATER, **{field: "\0"})
        assert raised.value.field == field


@pytest.mark.parametrize(("entity", "field"), FIELDS)
def test_update_changes_the_named_field_alone(entity: Any, field: str) -> None:
    expected = values(entity, type(entity).__slots__) | values(CHANGED[entity], [field])
    if field == "status":
        expected["published_at"] = LATER
    after = entity.update(now=LATER, **values(CHANGED[entity], [field]))
    assert after == type(entity)(**expected | {"version": 2, "updated_at": LATER})
    assert after != entity


@pytest.mark.parametrize(
    ("entity", "changes"),
    [
        (USER, {}),
        (USER, {"email": "ada@example.org"}),
        (USER, {"is_active": True, "full_name": " Ada "}),
        (POST, {}),
        (POST, {"content": "C\r\n"}),
        (POST, {"status": PostStatus.DRAFT, "title": " T "}),
    ],
)
def test_noop_update_returns_the_same_entity(entity: Any, changes: dict[str, Any]) -> None:
    assert entity.update(now=LATER, **changes) is entity


@entities
def test_update_never_decreases_updated_at(entity: Any) -> None:
    field = "email" if entity is USER else "title"
    later = entity.update(now=LATER, **values(CHANGED[entity], [field]))
    assert later.update(now=NOW, **values(entity, [field])).updated_at == LATER


@pytest.mark.parametrize("entity", [USER, POST, make_api_key()], ids=["user", "post", "key"])
def test_entity_is_immutable(entity: Any) -> None:
    with pytest.raises(AttributeError):
        entity.id = None
    assert not hasattr(entity, "__dict__")
