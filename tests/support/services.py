"""Use cases with a clock that ticks once a second and a patience that outlasts a busy machine."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

from adapters.system import new_id
from application.ports import Clock, NewId, Storage
from application.posts import PostService
from application.transactions import Retry
from application.users import UserService

PATIENT = Retry(deadline=60)
START = datetime(2030, 1, 1, tzinfo=UTC)


def ticking_clock() -> Callable[[], datetime]:
    """Return a clock that is a second later at every call."""
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
