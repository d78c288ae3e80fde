"""A load of use cases, most of them cancelled at random moments, half of these twice."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.users import UserService
from domain.users import User
from tests.support.service_factories import user_service

AT_ONCE = 40


@dataclass
class CancellationResult:
    """The number of cancelled and of finished operations, and the results that belong to another operation."""

    cancelled: int = 0
    answered: int = 0
    mismatched: list[UUID] = field(default_factory=list)


async def cancel_many(database: Database, users: Sequence[User], times: int, seed: str = "") -> CancellationResult:
    """Run operations on these users until so many were cancelled."""
    found = CancellationResult()
    chance = random.Random(seed)  # noqa: S311 - repeatable
    service = user_service(SqlAlchemyStorage(database))

    async def work() -> None:
        while found.cancelled < times:
            await _run_one(service, chance.choice(users), chance, found)

    await asyncio.gather(*[work() for _ in range(AT_ONCE)])
    return found


async def _run_one(service: UserService, user: User, chance: random.Random, found: CancellationResult) -> None:
    if chance.random() < 0.3:
        task = asyncio.create_task(service.update(SYSTEM_PRINCIPAL, user.id, full_name=f"{chance.random()}"))
    else:
        task = asyncio.create_task(service.get(SYSTEM_PRINCIPAL, user.id))
    if chance.random() < 0.9:
        await asyncio.sleep(chance.choice((0.0, chance.uniform(0, 0.03))))
        task.cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
            task.cancel()
    try:
        response = await task
    except asyncio.CancelledError:
        found.cancelled += 1
    else:
        found.answered += 1
        if response.id != user.id:
            found.mismatched.append(user.id)
