"""A connection that breaks off when the server was told to store: what is done then is known to be unknown."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import URL

from application.access import OPERATOR
from application.ports import AcknowledgementLostError, StorageUnavailableError, UnitOfWork
from application.transactions import Retry
from tests.support.examples import a_user, next_version, store_users, stored_users
from tests.support.probes import Probe, fetch
from tests.support.services import user_service
from tests.support.stores import Store, opened
from tests.support.waiting import until

Body = Callable[[UnitOfWork], Awaitable[Any]]


def _lose(store: Store, monkeypatch: pytest.MonkeyPatch, word: str, *, late: bool) -> None:
    """Have the next statement that begins so fail, when the server has done it or before it gets it."""
    driver = store.database.driver
    calls: dict[str, Callable[..., Awaitable[Any]]] = {"fetch": driver.fetch, "run": driver.run}
    lost: list[str] = []

    def losing(name: str) -> Callable[..., Awaitable[Any]]:
        async def call(connection: Any, statement: Any, *parameters: Any) -> Any:
            sql = statement if isinstance(statement, str) else driver.query(statement).sql
            fails = sql.startswith(word) and not lost
            result = await calls[name](connection, statement, *parameters) if late or not fails else None
            if fails:
                lost.append(sql)
                driver.break_off(connection)
                raise ConnectionResetError
            return result

        return call

    for name in calls:
        monkeypatch.setattr(driver, name, losing(name))


async def _two(work: UnitOfWork) -> None:
    await work.users.add(a_user())
    await work.users.add(a_user())


async def _one(work: UnitOfWork) -> None:
    await work.users.add(a_user())


@pytest.mark.parametrize(
    ("body", "word", "kind"),
    [
        (_one, "INSERT", AcknowledgementLostError),
        (_two, "COMMIT", AcknowledgementLostError),
        (_two, "BEGIN", StorageUnavailableError),
        (_two, "INSERT", StorageUnavailableError),
        (lambda work: fetch(work, "SELECT 1"), "SELECT", StorageUnavailableError),
    ],
)
async def test_what_is_known(
    store: Store, monkeypatch: pytest.MonkeyPatch, body: Body, word: str, kind: type[Exception]
) -> None:
    _lose(store, monkeypatch, word, late=True)
    with pytest.raises(StorageUnavailableError) as raised:
        await Probe(store.storage, retry=Retry(deadline=0)).change(body)
    assert type(raised.value) is kind
    await until(lambda: store.taken == 0)


async def test_a_refusal_is_known(scratch: URL, driver: str) -> None:
    user = a_user()
    async with opened(scratch, driver) as before:
        await store_users(before.storage, user)
    async with opened(scratch, driver) as store:
        store.admin.execute(f'ALTER DATABASE "{scratch.database}" SET default_transaction_read_only = on')
        with pytest.raises(StorageUnavailableError) as raised:
            await Probe(store.storage, retry=Retry(deadline=0)).change(
                lambda work: work.users.update(next_version(user))
            )
        assert type(raised.value) is StorageUnavailableError
        await until(lambda: store.taken == 0)
        store.admin.execute(f'ALTER DATABASE "{scratch.database}" RESET default_transaction_read_only')
        await Probe(store.storage).change(lambda work: work.users.update(next_version(user)))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("word", ["DELETE", "COMMIT"])
async def test_a_user_is_erased_once(store: Store, monkeypatch: pytest.MonkeyPatch, word: str, late: bool) -> None:
    user = a_user()
    await store_users(store.storage, user)
    _lose(store, monkeypatch, word, late=late)
    await user_service(store.storage).erase(OPERATOR, user.id)
    assert (await stored_users(store.storage), store.taken) == ([], 0)


@pytest.mark.parametrize("late", [False, True])
async def test_a_user_is_changed_once(store: Store, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    user = a_user()
    await store_users(store.storage, user)
    _lose(store, monkeypatch, "UPDATE", late=late)
    changed = await user_service(store.storage).change(OPERATOR, user.id, full_name="x")
    assert (changed.version, await stored_users(store.storage), store.taken) == (2, [changed], 0)
