"""Tests for the use cases of users."""

from typing import Any

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.users import UserService
from domain.errors import FieldValidationError
from domain.users import User
from tests.support.service_factories import START, user_service


async def test_create_user_stores_and_returns_the_user(storage: InMemoryStorage) -> None:
    chosen = new_id()
    users = user_service(storage, ids=lambda: chosen, now=lambda: START)
    user = await users.create(SYSTEM_PRINCIPAL, email="Ada@Example.org", full_name=" Ada ", is_active=False)
    assert (user.id, user.email, user.full_name, user.is_active) == (chosen, "Ada@Example.org", "Ada", False)
    assert (user.version, user.created_at, user.updated_at) == (1, START, START)
    assert await users.get(SYSTEM_PRINCIPAL, user.id) == user


async def test_list_users_applies_its_filters(users: UserService) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="Zo\u00eb@example.org")
    inactive = await users.create(SYSTEM_PRINCIPAL, email="inactive@example.org", is_active=False)
    spelled = "ZOE\u0308@EXAMPLE.ORG"
    cases: list[tuple[dict[str, Any], list[User]]] = [
        ({}, [inactive, user]),
        ({"is_active": True}, [user]),
        ({"is_active": False}, [inactive]),
        ({"email": spelled}, [user]),
        ({"email": spelled, "is_active": True, "after": inactive.id}, [user]),
        ({"email": spelled, "is_active": False}, []),
        ({"email": spelled, "after": user.id}, []),
        ({"email": "absent@example.org"}, []),
    ]
    for filters, expected in cases:
        assert (await users.list(SYSTEM_PRINCIPAL, limit=9, **filters)).items == expected, filters
    assert (await users.list(SYSTEM_PRINCIPAL, limit=1, email=spelled)).next_after is None
    with pytest.raises(FieldValidationError):
        await users.list(SYSTEM_PRINCIPAL, limit=9, email="ada")
