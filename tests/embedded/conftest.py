"""Fixtures for the tests of embedded PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgres
from tests.embedded.support import copy_cluster, quiet


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a new, stopped cluster."""
    directory = tmp_path_factory.mktemp("embedded") / "template"
    with quiet(directory):
        pass
    return directory


@pytest.fixture
def directory(template: Path, tmp_path: Path) -> Path:
    """A directory with a stopped cluster for one test."""
    return copy_cluster(template, tmp_path / "postgres")


@pytest.fixture(scope="session")
def running_directory(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `running`."""
    return copy_cluster(template, tmp_path_factory.mktemp("running") / "postgres")


@pytest.fixture(scope="session")
def running(running_directory: Path) -> Iterator[EmbeddedPostgres]:
    """A server for tests that neither stop nor configure it."""
    running_directory.chmod(0o755)  # test_directory_and_sockets_are_private
    with quiet(running_directory) as server:
        yield server
