"""Search for a canary, a unique text, in the tables and files of a PostgreSQL server."""

import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.sql import SQL, Identifier

from adapters.testing.template_databases import Connection

PAGE_BYTES = 8192
WAL = "pg_wal"
_TABLES = """
    SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm') ORDER BY nspname, relname
"""
_ROWS = "SELECT count(*) FROM {} AS stored WHERE lower(stored::text) LIKE ANY (%s)"
_RELATION_FILES = """
    SELECT oid::regclass::text, pg_relation_filepath(oid) FROM pg_class WHERE relkind IN ('r', 'm', 'i', 't')
"""


@dataclass(frozen=True, slots=True)
class Canary:
    """Words in lower case that users have in their data, and the sealed responses of requests with them."""

    words: Collection[str]
    sealed: Collection[bytes] = ()

    def patterns(self) -> list[str]:
        """Return patterns for rows as text, where binary values are hexadecimal."""
        return [f"%{text}%" for text in (*self.words, *(value.hex() for value in self._bytes()))]

    def is_in(self, content: bytes) -> bool:
        return any(value in content for value in self._bytes())

    def _bytes(self) -> list[bytes]:
        return [*(word.encode() for word in self.words), *self.sealed]


@dataclass(slots=True)
class PageTraces:
    """Tables and indexes with an entry that contains the canary, and the pages with it in unused space only."""

    relations: set[str] = field(default_factory=set)
    unused: int = 0


def tables_with(connection: Connection, canary: Canary) -> dict[str, int]:
    """Return the number of rows with the canary by table, in all schemas, the system catalogs included."""
    found = {}
    for schema, name in connection.execute(_TABLES).fetchall():
        query = SQL(_ROWS).format(Identifier(str(schema), str(name)))
        ((count,),) = connection.execute(query, [canary.patterns()]).fetchall()
        if count:
            found[str(name)] = int(str(count))
    return found


def data_directory(connection: Connection) -> Path:
    ((path,),) = connection.execute("SELECT current_setting('data_directory')").fetchall()
    return Path(str(path))


def pages_with(connection: Connection, canary: Canary) -> PageTraces:
    """Search the pages of all tables and indexes of the database, in the files of the server."""
    connection.execute("CHECKPOINT")
    data = data_directory(connection)
    traces = PageTraces()
    for name, path in connection.execute(_RELATION_FILES).fetchall():
        for page in _pages(data, str(path)):
            # "Database Page Layout" of PostgreSQL: entries fill the page from its end, their pointers from its start.
            lower, upper = struct.unpack_from("=HH", page, 12)
            if canary.is_in(page[:lower]) or canary.is_in(page[upper:]):
                traces.relations.add(str(name))
            else:
                traces.unused += canary.is_in(page)
    return traces


def files_with(directory: Path, canary: Canary, *, but_for: str = WAL) -> list[str]:
    """Return the files below a directory that contain the canary."""
    found = []
    for path in sorted(directory.rglob("*")):
        with suppress(FileNotFoundError):
            if path.is_file() and but_for not in path.parts and canary.is_in(path.read_bytes()):
                found.append(str(path.relative_to(directory)))
    return found


def _pages(data: Path, path: str) -> Iterator[bytes]:
    """Yield the pages of a relation: a file for each GB."""
    segments: Sequence[Path] = [data / path, *sorted(data.glob(f"{path}.[0-9]*"))]
    for content in (segment.read_bytes() for segment in segments if segment.exists()):
        for start in range(0, len(content), PAGE_BYTES):
            yield content[start : start + PAGE_BYTES]
