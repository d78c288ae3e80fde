"""Tests for the rules of an export: permission, number at a time, and the release of its resources."""

from contextlib import aclosing

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from adapters.postgres.models import Base
from application.authorization import SYSTEM_PRINCIPAL, ForbiddenError, Principal
from application.ports import StorageBusyError
from application.user_export import MAX_CONCURRENT_EXPORTS, USER_DATA, UserExportService
from domain.api_keys import Scope
from domain.users import User, UserNotFoundError
from tests.support.principals import bound_principal, principal_without, unbound_principal

NOT_EXPORTED = {
    "idempotency_records": "the responses are encrypted copies of entities that the export has",
    "erasure_receipts": "a user who exists has no receipt",
}
KEPT = {"audit_entries"}
"""Tables whose rows remain after the deletion of a user."""
USER_COLUMNS = {"user_id", "author_id", "subject_id"}


@pytest.mark.parametrize("table", sorted(Base.metadata.tables))
def test_each_table_with_data_of_users_is_exported_and_erased(table: str) -> None:
    columns = Base.metadata.tables[table].columns
    references = {key.parent.name: key for column in columns for key in column.foreign_keys if "users." in str(key)}
    if table in USER_DATA:
        assert [key.ondelete for key in references.values()] == ([] if table in KEPT else ["CASCADE"])
    else:
        assert not references, "add the table to USER_DATA"
        assert table in {"users", *NOT_EXPORTED} or USER_COLUMNS.isdisjoint(columns.keys())


async def _first_table(service: UserExportService, principal: Principal, user: User) -> str:
    async with aclosing(service.export(principal, user.id)) as pages:
        return (await anext(pages)).table


async def test_export_requires_its_scope_and_the_own_user(storage: InMemoryStorage, user: User) -> None:
    service = UserExportService(storage)
    for principal in (unbound_principal(Scope.USERS_EXPORT), bound_principal(user.id, {Scope.USERS_EXPORT})):
        assert await _first_table(service, principal, user) == "users"
    for principal in (principal_without(Scope.USERS_EXPORT), bound_principal(user.id, {Scope.USERS_READ})):
        with pytest.raises(ForbiddenError):
            await _first_table(service, principal, user)
    with pytest.raises(UserNotFoundError):
        await _first_table(service, bound_principal(new_id()), user)


async def test_exports_beyond_the_maximum_are_rejected(storage: InMemoryStorage, user: User) -> None:
    service = UserExportService(storage)
    active = [service.export(SYSTEM_PRINCIPAL, user.id) for _ in range(MAX_CONCURRENT_EXPORTS)]
    for pages in active:
        await anext(pages)
    with pytest.raises(StorageBusyError):
        await _first_table(service, SYSTEM_PRINCIPAL, user)
    assert [page.table async for page in active[0]] == list(USER_DATA)
    await active[1].aclose()
    for _ in range(MAX_CONCURRENT_EXPORTS + 1):
        assert await _first_table(service, SYSTEM_PRINCIPAL, user) == "users"


async def test_failed_export_does_not_count_toward_the_maximum(storage: InMemoryStorage, user: User) -> None:
    service = UserExportService(storage)
    for _ in range(MAX_CONCURRENT_EXPORTS + 1):
        with pytest.raises(UserNotFoundError):
            async with aclosing(service.export(SYSTEM_PRINCIPAL, new_id())) as pages:
                await anext(pages)
    assert await _first_table(service, SYSTEM_PRINCIPAL, user) == "users"
