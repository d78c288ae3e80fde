"""A page knows whether another one follows."""

from uuid import UUID

import pytest

from application.pages import Page
from tests.support.examples import a_user


@pytest.mark.parametrize(
    ("found", "limit", "kept", "follows"),
    [(0, 1, 0, False), (1, 1, 1, False), (2, 1, 1, True), (2, 2, 2, False), (3, 2, 2, True)],
)
def test_one_more_than_asked_for_tells_that_another_page_follows(
    found: int, limit: int, kept: int, follows: bool
) -> None:
    users = [a_user(id=UUID(int=9 - number)) for number in range(found)]
    page = Page.cut(users, limit)
    assert page.items == users[:kept]
    assert page.next_after == (users[kept - 1].id if follows else None)
