"""Directories for the tests of the embedded PostgreSQL."""

import shutil
from pathlib import Path

import pytest

from tests.embedded.support import quiet


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a cluster that was made and stopped."""
    directory = tmp_path_factory.mktemp("embedded") / "template"
    with quiet(directory):
        pass
    return directory


@pytest.fixture
def directory(template: Path, tmp_path: Path) -> Path:
    """A directory of the test's own with a cluster in it."""
    return copy_cluster(template, tmp_path / "postgres")


def copy_cluster(template: Path, place: Path) -> Path:
    place.mkdir(parents=True, mode=0o700)
    shutil.copytree(template / "data", place / "data")
    return place
