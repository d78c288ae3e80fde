"""Wait for a condition instead of a fixed time."""

import asyncio
import time
from collections.abc import Callable

TIMEOUT_SECONDS = 30.0
"""The time limit of a wait in seconds, with a margin for slow machines."""


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds. Raises AssertionError when it never does."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {TIMEOUT_SECONDS} s"
        await asyncio.sleep(0.002)
