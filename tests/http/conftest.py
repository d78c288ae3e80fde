from collections.abc import AsyncIterator

import pytest

from tests.http.support import Api, serving
from tests.http.wires import Wire, listening


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An application over its own empty storage."""
    async with serving() as made:
        yield made


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """An application that listens on a port of its own, with small bounds."""
    async with listening() as made:
        yield made
