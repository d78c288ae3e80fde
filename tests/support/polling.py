"""Waiting for something to come about, never for a time to pass."""

import asyncio
import time
from collections.abc import Callable

TIMEOUT_SECONDS = 30.0
"""Seconds after which what is waited for will not come any more, on the slowest machine."""


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds. Raises AssertionError when it never does."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come about"
        await asyncio.sleep(0.002)
