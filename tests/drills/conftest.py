from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.drills.scenario import ScenarioContext, ScenarioSize


@pytest.fixture
def stage(scratch: URL, driver: str, tmp_path: Path) -> ScenarioContext:
    """Input of a drill on an empty database; a test replaces the size."""
    return ScenarioContext(database=scratch, driver=driver, directory=tmp_path, size=ScenarioSize(), seed="1")
