"""Bodies of units of work, most of which fail."""

from collections.abc import Awaitable, Callable
from typing import Any

from application.ports import ConcurrentUpdateError, StorageUnavailableError, UnitOfWork
from application.transactions import RetryPolicy
from domain.posts import AuthorNotFoundError
from domain.users import EmailAlreadyRegisteredError, UserNotFoundError
from tests.support.factories import make_post, make_user, next_version
from tests.support.use_case_runner import fetch

Body = Callable[[UnitOfWork], Awaitable[Any]]
Failure = tuple[Body, type[Exception]]

ONCE = RetryPolicy(max_elapsed=0)
KNOWN, OTHER = make_user(email="zoe.secret@example.org"), make_user()
"""Stored users."""


class UnforeseenError(Exception):
    """Raised by a use case."""


async def add_two(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await work.users.add(make_user())


def in_transaction(body: Body) -> Body:
    """Return a unit of work that adds a user before the body, and sends all writes."""

    async def add_and_run(work: UnitOfWork) -> None:
        await work.users.add(make_user())
        await body(work)
        await work.users.list(limit=1)

    return add_and_run


async def list_add_and_raise(work: UnitOfWork) -> None:
    await work.users.list(limit=1)
    await work.users.add(make_user())
    raise UnforeseenError


async def add_list_and_raise(work: UnitOfWork) -> None:
    await work.users.add(make_user())
    await list_add_and_raise(work)


def update_to_duplicate_email(work: UnitOfWork) -> Awaitable[None]:
    return work.users.update(next_version(OTHER, email=KNOWN.email))


def update_stale_version(work: UnitOfWork) -> Awaitable[None]:
    return work.users.update(next_version(next_version(KNOWN)))


def divide_by_zero(work: UnitOfWork) -> Awaitable[object]:
    return fetch(work, "SELECT 1 / 0")


EXPECTED: dict[str, Failure] = {
    "duplicate e-mail": (lambda work: work.users.add(make_user(email=KNOWN.email)), EmailAlreadyRegisteredError),
    "update to duplicate e-mail": (update_to_duplicate_email, EmailAlreadyRegisteredError),
    "update to duplicate e-mail in a transaction": (
        in_transaction(update_to_duplicate_email),
        EmailAlreadyRegisteredError,
    ),
    "stale version": (update_stale_version, ConcurrentUpdateError),
    "stale version in a transaction": (in_transaction(update_stale_version), ConcurrentUpdateError),
    "missing user": (lambda work: work.users.get(make_user().id), UserNotFoundError),
    "missing author": (lambda work: work.posts.add(make_post(make_user())), AuthorNotFoundError),
}
"""Failures that the ports specify."""
CONNECTION_KEPT: dict[str, Failure] = EXPECTED | {
    "check constraint": (lambda work: work.users.update(next_version(KNOWN, full_name="x" * 201)), Exception),
    "error before the write is sent": (list_add_and_raise, UnforeseenError),
    "error after the write was sent": (add_list_and_raise, UnforeseenError),
}
CONNECTION_DISCARDED: dict[str, Failure] = {
    "division by zero": (divide_by_zero, Exception),
    "division by zero in a transaction": (in_transaction(divide_by_zero), Exception),
    "missing table": (lambda work: fetch(work, "SELECT missing FROM missing"), Exception),
    "unsupported value": (lambda work: work.users.get(object()), Exception),  # type: ignore[arg-type]
    "ended backend": (
        lambda work: fetch(work, "SELECT pg_terminate_backend(pg_backend_pid())"),
        StorageUnavailableError,
    ),
}
