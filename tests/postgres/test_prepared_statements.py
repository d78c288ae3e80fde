"""Without prepared statements: for a pooler that hands out server connections by transaction."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import URL

from application.access import OPERATOR
from domain.keys import Scope
from domain.posts import PostStatus
from tests.contract.test_outcomes import once
from tests.support.examples import stored_posts, stored_users
from tests.support.probes import Probe, fetch, recorded
from tests.support.services import key_service, post_service, user_service
from tests.support.stores import PATIENT, Store, opened

PREPARED = "SELECT count(*) FROM pg_prepared_statements"
ONE = replace(PATIENT, pool_size=1)


@pytest.fixture(params=[True, False], ids=["prepared", "unprepared"])
async def small(request: pytest.FixtureRequest, scratch: URL, driver: str) -> AsyncIterator[Store]:
    """A database through one connection, with prepared statements and without."""
    async with opened(scratch, driver, replace(ONE, prepared_statements=request.param)) as store:
        yield store


async def _use(store: Store) -> None:
    users, posts, keys = user_service(store.storage), post_service(store.storage), key_service(store.storage)
    key = (await keys.create(OPERATOR, name="key", scopes=[Scope.USERS_READ])).key
    for number in range(8):  # a driver may wait for some executions before it prepares
        user = await users.register(OPERATOR, email=f"ada{number}@example.org", once=once(key, name=number))
        await users.change(OPERATOR, user.id, full_name="Ada")
        await users.list(OPERATOR, limit=3, after=user.id, is_active=True)
        await users.list(OPERATOR, limit=3, email=user.email)
        post = await posts.write(OPERATOR, author_id=user.id, title="x", content="x")
        await posts.revise(OPERATOR, post.id, status=PostStatus.PUBLISHED)
        await posts.list(OPERATOR, limit=3, author_id=user.id)
        if number % 2:
            await posts.remove(OPERATOR, post.id)
            await users.erase(OPERATOR, user.id)
    assert len(await stored_users(store.storage)) == len(await stored_posts(store.storage)) == 4


async def test_there_are_none_when_there_should_be_none(small: Store) -> None:
    await _use(small)
    ((number,),) = await Probe(small.storage).look(lambda work: fetch(work, PREPARED))
    assert (number > 5) == small.database.options.prepared_statements
    assert (number == 0) != small.database.options.prepared_statements


async def test_every_statement_is_in_a_transaction_when_the_pooler_counts_in_those(
    small: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = recorded(small.database, monkeypatch)
    await _use(small)
    units = " ".join(sent.verbs).split("COMMIT")
    if small.database.options.prepared_statements:
        assert sent.verbs.count("BEGIN") == 8 + 4  # with an outcome, and to erase
    else:
        assert units.pop() == ""
        assert all(unit.split()[0] == "BEGIN" and unit.count("BEGIN") == 1 for unit in units)
        assert len(units) > 50


async def test_times_are_in_utc_whatever_the_time_zone_of_the_server(small: Store) -> None:
    small.admin.execute(f"ALTER DATABASE {small.url.database} SET timezone = 'Asia/Kathmandu'")
    user = await user_service(small.storage).register(OPERATOR, email="ada@example.org")
    read = await user_service(small.storage).get(OPERATOR, user.id)
    assert (read, read.created_at.utcoffset()) == (user, timedelta(0))
