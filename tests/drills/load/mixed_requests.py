"""Requests to a service in use, in addition to those of other drills: lists, earlier posts, updates, search."""

import json
from collections.abc import Iterator
from urllib.error import HTTPError

from tests.drills.load.load_job import NUMBER, RequestSpec
from tests.drills.load.workload import reading
from tests.drills.schema_changes.bulk_data import BulkData
from tests.drills.service_under_test import ServiceUnderTest

SOME = 20
"""Number of earlier posts that each kind of request addresses."""
OFTEN = 4
_POSTS = "/api/v1/posts"
_LISTS = (_POSTS, f"{_POSTS}?status=published", "/api/v1/users", "/api/v1/users?is_active=true")


def mixed_requests(service: ServiceUnderTest, filled: BulkData) -> list[RequestSpec]:
    """Return reads, lists and updates of these rows that the serving release supports."""
    some = filled.sample[:SOME]
    known = [path for path in _lists(service, filled) if _is_supported(service, path)]
    return [
        *(reading(f"{_POSTS}/{id_}", expects=id_) for id_ in some),
        *(_change(id_) for id_ in some),
        *(reading(path, expects='"items"') for path in known * OFTEN),
    ]


def _lists(service: ServiceUnderTest, filled: BulkData) -> Iterator[str]:
    for path in _LISTS:
        yield path
        page = json.loads(service.served.get(path, key=service.key).read())
        yield f"{path}{'&' if '?' in path else '?'}cursor={page['next_cursor']}"
    yield f"{_POSTS}?author_id={filled.authors[0]}&status=published"
    yield f"{_POSTS}?q=word17"


def _is_supported(service: ServiceUnderTest, path: str) -> bool:
    try:
        service.served.get(path, key=service.key)
    except HTTPError:
        return False
    return True


def _change(id_: str) -> RequestSpec:
    body = json.dumps({"content": f"Changed by {NUMBER}."})
    return RequestSpec(
        name=f"change {NUMBER}", method="PATCH", path=f"{_POSTS}/{id_}", body=body, expects=f"by {NUMBER}."
    )
