"""Shared fixtures. They start a server only for the first test that needs it."""

import hashlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
from sqlalchemy import URL

from adapters.observability.logging import log_request
from adapters.testing.template_databases import Databases
from application.ports import Storage
from application.posts import PostService
from application.users import UserService
from domain.api_keys import ApiKey
from domain.users import User
from tests.support.database_fixture import DRIVERS, DatabaseFixture, opened, with_empty_tables
from tests.support.factories import make_api_key, make_user, store_api_keys, store_users
from tests.support.postgres_server import CONTAINER, EMBEDDED, running_server
from tests.support.service_factories import post_service, user_service
from tests.support.subprocess_coverage import enable_daemon_coverage

DRILL_DIRECTORIES = [Path(__file__).with_name(name) for name in ("benchmarks", "clients", "drills", "fuzz")]
"""Directories of which all tests belong to `make test-drills`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        default=EMBEDDED,
        metavar="embedded|container|URL",
        help="the PostgreSQL to test against",
    )
    parser.addoption(
        "--hostile",
        choices=["sampled", "full"],
        default="sampled",
        help="full sends all values to all injection points of tests/malicious_input; sampled sends a sample",
    )


def pytest_configure() -> None:
    enable_daemon_coverage()
    # Child processes inherit ignored signals, for example from nohup, but not handlers.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests below the drill directories before pytest selects by `-m`, and start the longest test first."""
    items.sort(key=lambda item: item.path.parent.name != "fuzz")
    for item in items:
        if any(map(item.path.is_relative_to, DRILL_DIRECTORIES)):
            item.add_marker(pytest.mark.drill)


def pytest_report_header(config: pytest.Config) -> str:
    server = config.getoption("--postgres")
    return f"postgres: {server if server in {EMBEDDED, CONTAINER} else 'the server of the URL'}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have recorded, also from other processes."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figures" and report.when == "call":
                terminalreporter.write(f"\n{value}")


@pytest.fixture(scope="session")
def databases(pytestconfig: pytest.Config, testrun_uid: str, worker_id: str) -> Iterator[Databases]:
    """A server, on which the whole run makes its databases."""
    run = hashlib.sha256(testrun_uid.encode()).hexdigest()[:8]
    with (
        running_server(pytestconfig.getoption("--postgres"), pytestconfig.rootpath) as url,
        Databases(url, run=run, worker=worker_id).opened() as made,
    ):
        yield made


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn."""
    return str(request.param)


@pytest.fixture
def scratch(databases: Databases) -> Iterator[URL]:
    """A database of the test's own, with the schema."""
    url = databases.clone()
    yield url
    databases.drop(url)


@pytest.fixture
def empty(databases: Databases) -> Iterator[URL]:
    """A database of the test's own, without any table."""
    url = databases.empty()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
async def stores(databases: Databases) -> AsyncIterator[Mapping[str, DatabaseFixture]]:
    """The databases that the tests of this process share, one for each driver."""
    async with AsyncExitStack() as stack:
        yield {driver: await stack.enter_async_context(opened(databases.clone(), driver)) for driver in DRIVERS}


@pytest.fixture
async def store(driver: str, stores: Mapping[str, DatabaseFixture]) -> AsyncIterator[DatabaseFixture]:
    """A database without rows; the test has to leave its pool as it was."""
    async with with_empty_tables(stores[driver]) as store:
        yield store


@pytest.fixture
def restored_logs() -> Iterator[None]:
    """Restore the log configuration after the test."""
    root = logging.getLogger()
    before = structlog.get_config(), root.handlers[:], root.level
    access_log = log_request.lines, log_request.min_level
    yield
    log_request.lines, log_request.min_level = access_log
    structlog.configure(**before[0])
    root.handlers[:], root.level = before[1], before[2]


@pytest.fixture
def users(storage: Storage) -> UserService:
    """The use cases of users over the storage of the test; its directory defines the fixture `storage`."""
    return user_service(storage)


@pytest.fixture
def posts(storage: Storage) -> PostService:
    return post_service(storage)


@pytest.fixture
async def user(storage: Storage) -> User:
    user = make_user()
    await store_users(storage, user)
    return user


@pytest.fixture
async def key(storage: Storage) -> ApiKey:
    key = make_api_key()
    await store_api_keys(storage, key)
    return key
