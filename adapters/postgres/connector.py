"""Opens connections to the servers of a URL."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL

from adapters.database_url import Host, hosts_of, options_of
from adapters.postgres.connect_errors import ConnectError, connect_errors
from adapters.postgres.drivers import DRIVERS, NO_SETTINGS, SEARCH_PATH, SERVER_SETTINGS, Driver


class Connector:
    """Opens driver connections to the servers of a URL.

    `connect_timeout` is the limit for all servers together, in seconds. Each server gets an equal part of the rest, so
    that a frozen server does not hide the servers after it. The server of the last connection is tried first, unless
    the URL has `load_balance_hosts=random`.
    """

    def __init__(
        self,
        url: URL,
        *,
        connect_timeout: float,
        prepared_statements: bool = True,
        server_settings: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        self.server_settings = {**SEARCH_PATH, **options_of(url), **SERVER_SETTINGS, **server_settings}
        self.driver = DRIVERS[url.get_dialect().driver]
        self.hosts = hosts_of(url)
        """The server of the last connection is the first."""
        self._is_random = url.query.get("load_balance_hosts") == "random"
        self._connect_timeout = connect_timeout
        self._arguments = self.driver.connect_args(
            url,
            prepared_statements=prepared_statements,
            connect_timeout=connect_timeout,
            server_settings=self.server_settings,
        )

    async def connect(self) -> Any:
        """Return a new connection. Raises ConnectError. If the caller is cancelled, the connection is closed later."""
        # psycopg does not close a connection if its creation is cancelled.
        connecting = asyncio.create_task(self._connect())
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(lambda done: _close(self.driver, done))
            raise

    async def _connect(self) -> Any:
        hosts = random.sample(self.hosts, len(self.hosts)) if self._is_random else list(self.hosts)
        loop = asyncio.get_running_loop()
        due = loop.time() + self._connect_timeout
        failures: list[tuple[Host, Exception]] = []
        for number, host in enumerate(hosts):
            opening = self.driver.connect(**self._arguments, host=host.name, port=host.port)
            try:
                # The timeout of the drivers applies to each address of a host separately.
                connection = await asyncio.wait_for(opening, (due - loop.time()) / (len(hosts) - number))
            except connect_errors() as error:
                failures.append((host, error))
            else:
                self.hosts.sort(key=lambda other: other != host)
                return connection
        raise ConnectError(failures) from failures[-1][1]


def _close(driver: type[Driver], connecting: asyncio.Task[Any]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        driver.close(connecting.result())
