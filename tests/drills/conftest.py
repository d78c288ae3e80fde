import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def alone() -> Iterator[None]:
    """Wait for the drill that another process of this user's carries out: two at once would disturb each other."""
    with (Path(tempfile.gettempdir()) / f"hexapost-drill-{os.getuid()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
