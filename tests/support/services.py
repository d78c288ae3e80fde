"""Factories of services. The clock ticks once a second, and retries last longer than a busy machine needs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

from adapters.system import new_id
from application.authentication import Authenticator
from application.credentials import Peppers, new_secret
from application.keys import ApiKeyService
from application.ports import Clock, NewId, Storage
from application.posts import PostService
from application.transactions import Retry
from application.users import UserService

PATIENT = Retry(deadline=60)
SECOND_PEPPER = b"the second pepper of these tests"
PEPPERS = Peppers({1: b"the first pepper, for tests only", 2: SECOND_PEPPER})
START = datetime(2030, 1, 1, tzinfo=UTC)


def ticking_clock() -> Callable[[], datetime]:
    """Return a clock that is one second later at every call."""
    ticks = count()
    return lambda: START + timedelta(seconds=next(ticks))


def user_service(
    storage: Storage, *, now: Clock | None = None, ids: NewId = new_id, retry: Retry = PATIENT
) -> UserService:
    return UserService(storage=storage, now=now or ticking_clock(), new_id=ids, retry=retry)


def post_service(
    storage: Storage, *, now: Clock | None = None, ids: NewId = new_id, retry: Retry = PATIENT
) -> PostService:
    return PostService(storage=storage, now=now or ticking_clock(), new_id=ids, retry=retry)


def authenticator(
    storage: Storage, *, now: Clock | None = None, remembers: float = 5, retry: Retry = PATIENT
) -> Authenticator:
    return Authenticator(storage=storage, now=now or ticking_clock(), peppers=PEPPERS, remembers=remembers, retry=retry)


def key_service(
    storage: Storage,
    *,
    now: Clock | None = None,
    ids: NewId = new_id,
    retry: Retry = PATIENT,
    authenticator: Authenticator | None = None,
) -> ApiKeyService:
    clock = now or ticking_clock()
    return ApiKeyService(
        storage=storage,
        now=clock,
        new_id=ids,
        new_secret=new_secret,
        peppers=PEPPERS,
        authenticator=authenticator
        or Authenticator(storage=storage, now=clock, peppers=PEPPERS, remembers=5, retry=retry),
        retry=retry,
    )
