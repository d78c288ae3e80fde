"""Waiting for something to come about, never for a time to pass."""

import asyncio
import time
from collections.abc import Callable

LONGEST = 30.0
"""Seconds after which what is waited for will not come any more, on the slowest machine."""


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds. Raises AssertionError when it never does."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come about"
        await asyncio.sleep(0.002)
