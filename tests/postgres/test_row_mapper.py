"""Tests for the entities that a row mapper makes from rows."""

from dataclasses import FrozenInstanceError, astuple, replace

import pytest
from sqlalchemy import Column, MetaData, Table

from adapters.postgres.models import USERS
from adapters.postgres.row_mapper import RowMapper
from domain.users import User
from tests.support.factories import make_user

NAMES = [column.name for column in USERS.c if column.name != "email_normalized"]
MAPPER = RowMapper(USERS, User, write_only=frozenset({"email_normalized"}))


def test_mapped_entity_equals_the_constructed_one() -> None:
    user = make_user()
    mapped = MAPPER.entity([getattr(user, name) for name in NAMES])
    assert (mapped, hash(mapped), type(mapped), astuple(mapped)) == (user, hash(user), User, astuple(user))
    assert replace(mapped, version=2) == replace(user, version=2)


def test_mapped_entity_is_immutable() -> None:
    mapped = MAPPER.entity([None] * len(NAMES))
    with pytest.raises(FrozenInstanceError):
        mapped.version = 2  # type: ignore[misc]


@pytest.mark.parametrize("count", [len(NAMES) - 1, len(NAMES) + 1])
def test_row_with_wrong_number_of_columns_raises(count: int) -> None:
    with pytest.raises(TypeError):
        MAPPER.entity([None] * count)


def test_table_without_a_field_of_the_entity_raises() -> None:
    mapper = RowMapper(Table("users", MetaData(), *[Column(name) for name in NAMES[1:]]), User)
    with pytest.raises(TypeError):
        mapper.entity([None] * (len(NAMES) - 1))
