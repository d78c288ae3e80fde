"""Temporary roles with limited privileges."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

from psycopg.sql import SQL, Identifier
from sqlalchemy import URL

from adapters.testing.template_databases import Connection, connected

PASSWORD = "limited"  # noqa: S105 - a test password


class Role:
    """A role that can log in and read the users of a database that only one test uses."""

    def __init__(self, admin: Connection, url: URL) -> None:
        self._admin = admin
        self.name = f"limited_{url.database}"
        self.url = url.set(username=self.name, password=PASSWORD)

    def limit(self, connections: int) -> None:
        """Set the connection limit of the role; -1 means no limit. Concurrent logins can all fail below the limit."""
        self._admin.execute(SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(Identifier(self.name), connections))

    def grant(self, table: str) -> None:
        """Grant SELECT on a table."""
        self._admin.execute(SQL("GRANT SELECT ON {} TO {}").format(Identifier(table), Identifier(self.name)))

    def grant_service(self) -> None:
        """Grant the privileges of the service on all tables."""
        grant = SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}")
        self._admin.execute(grant.format(Identifier(self.name)))

    def revoke(self, table: str, privilege: LiteralString = "SELECT") -> None:
        """Revoke a privilege on a table."""
        revoke = SQL("REVOKE {} ON {} FROM {}")
        self._admin.execute(revoke.format(SQL(privilege), Identifier(table), Identifier(self.name)))

    def terminate(self) -> None:
        """End all sessions of the role."""
        self._admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [self.name])

    @property
    def connections(self) -> int:
        """The number of sessions of the role."""
        (row,) = self._admin.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [self.name]).fetchall()
        return int(str(row[0]))


@contextmanager
def temporary_role(url: URL) -> Iterator[Role]:
    """Create a role, and drop it at the end of the block."""
    with connected(url) as admin:
        role = Role(admin, url)
        name = Identifier(role.name)
        admin.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, PASSWORD))
        try:
            role.grant("users")
            yield role
        finally:
            role.terminate()
            admin.execute(SQL("DROP OWNED BY {}").format(name))
            admin.execute(SQL("DROP ROLE {}").format(name))
