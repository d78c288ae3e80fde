"""Factories of services. The clock ticks once a second, and retries last longer than a busy machine needs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

from adapters.clock import new_id
from application.api_key_tokens import PepperSet, generate_secret
from application.api_keys import ApiKeyService
from application.authentication import Authenticator
from application.ports import Clock, NewId, Storage
from application.posts import PostService
from application.transactions import RetryPolicy
from application.users import UserService

LENIENT_RETRY = RetryPolicy(max_elapsed=60)
SECOND_PEPPER = b"the second pepper of these tests"
PEPPERS = PepperSet({1: b"the first pepper, for tests only", 2: SECOND_PEPPER})
START = datetime(2030, 1, 1, tzinfo=UTC)


def ticking_clock() -> Callable[[], datetime]:
    """Return a clock that is one second later at every call."""
    ticks = count()
    return lambda: START + timedelta(seconds=next(ticks))


def user_service(
    storage: Storage, *, now: Clock | None = None, ids: NewId = new_id, retry: RetryPolicy = LENIENT_RETRY
) -> UserService:
    return UserService(storage=storage, clock=now or ticking_clock(), new_id=ids, retry=retry)


def post_service(
    storage: Storage, *, now: Clock | None = None, ids: NewId = new_id, retry: RetryPolicy = LENIENT_RETRY
) -> PostService:
    return PostService(storage=storage, clock=now or ticking_clock(), new_id=ids, retry=retry)


def authenticator(storage: Storage, *, cache_ttl: float = 5, retry: RetryPolicy = LENIENT_RETRY) -> Authenticator:
    return Authenticator(storage=storage, peppers=PEPPERS, cache_ttl=cache_ttl, retry=retry)


def key_service(
    storage: Storage,
    *,
    now: Clock | None = None,
    ids: NewId = new_id,
    retry: RetryPolicy = LENIENT_RETRY,
    authenticator: Authenticator | None = None,
) -> ApiKeyService:
    return ApiKeyService(
        storage=storage,
        clock=now or ticking_clock(),
        new_id=ids,
        generate_secret=generate_secret,
        peppers=PEPPERS,
        authenticator=authenticator or Authenticator(storage=storage, peppers=PEPPERS, cache_ttl=5, retry=retry),
        retry=retry,
    )
