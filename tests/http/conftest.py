from collections.abc import AsyncIterator

import pytest

from tests.http.support import Api, serving


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An application over its own empty storage."""
    async with serving() as made:
        yield made
