from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.drills.drill import Size, Stage


@pytest.fixture
def stage(scratch: URL, driver: str, tmp_path: Path) -> Stage:
    """Input of a drill on an empty database; a test replaces the size."""
    return Stage(
        database=scratch,
        driver=driver,
        directory=tmp_path,
        size=Size(),
        seed="1",
        say=lambda _line: None,
        progress=lambda _done, _total: None,
    )
