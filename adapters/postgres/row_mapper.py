"""Maps entities to rows and back. Columns, parameters and statements derive from the table."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Integer, Select, Table, Update, bindparam, delete, literal_column, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningDelete

from adapters.postgres.drivers import Row

WRITTEN = literal_column("1", Integer)
"""The column that a write returns for each row, so that a write without a row is noticed."""

E = TypeVar("E")


class RowMapper(Generic[E]):
    """Maps the rows of one table.

    `build` makes an entity from the columns by name. `write` computes the columns that are not attributes of the
    entity. Columns in `write_only` are not read. The database computes the `computed` columns when it inserts a row.
    """

    def __init__(
        self,
        table: Table,
        build: Callable[..., E],
        *,
        write: Mapping[str, Callable[[E], Any]] | None = None,
        write_only: frozenset[str] = frozenset(),
        computed: Mapping[str, ColumnElement[Any]] | None = None,
    ) -> None:
        self._build = build
        self._computed = dict(computed or {})
        names = [column.name for column in table.c if column.name not in self._computed]
        self._read = {name: attrgetter(name) for name in names} | dict(write or {})
        self._keys = [column.name for column in table.primary_key]
        self.table = table
        self.columns = tuple(column for column in table.c if column.name not in write_only)
        self._names = [column.name for column in self.columns]

    def entity(self, row: Row) -> E:
        """Return the entity in a row of `columns`."""
        return self._build(**dict(zip(self._names, row, strict=True)))

    def values(self, entity: E) -> dict[str, Any]:
        """Return the value of each column of the table, except for computed columns."""
        return {name: read(entity) for name, read in self._read.items()}

    def select(self) -> Select[Any]:
        """Return a query for `columns`."""
        return select(*self.columns)

    def select_by_key(self) -> Select[Any]:
        """Return a query for one row by its primary key, whose columns are the parameters."""
        return self.select().where(*[self.table.c[name] == bindparam(name) for name in self._keys])

    def select_page(self, *, after: bool) -> Select[Any]:
        """Return a query for `limit` rows in descending order of ID, below the ID `after` if that is given."""
        ids = self.table.c.id
        query = self.select().order_by(ids.desc()).limit(bindparam("limit"))
        return query.where(ids < bindparam("after")) if after else query

    def insert_where(self, condition: ColumnElement[Any]) -> Insert:
        """Return the insertion of `values`, which inserts no row if the condition is false."""
        parameters = {name: bindparam(name, type_=self.table.c[name].type) for name in self._read}
        values: dict[str, ColumnElement[Any]] = {**parameters, **self._computed}
        return insert(self.table).from_select(list(values), select(*values.values()).where(condition))

    def update_version(self) -> Update:
        """Return the update of one version of a row to `values`. The key and `created_at` do not change."""
        fixed = {*self._keys, "created_at"}
        changes: dict[str, Any] = {name: bindparam(name) for name in self._read if name not in fixed}
        return update(self.table).where(*self._stored()).values(changes).returning(WRITTEN)

    def delete_version(self) -> ReturningDelete[Any]:
        """Return the deletion of one version of a row."""
        return delete(self.table).where(*self._stored()).returning(WRITTEN)

    def stored(self, entity: E, version: int) -> dict[str, Any]:
        """Return the parameters that identify one stored version of a row."""
        return {f"stored_{name}": getattr(entity, name) for name in self._keys} | {"stored_version": version}

    def _stored(self) -> list[ColumnElement[bool]]:
        return [self.table.c[name] == bindparam(f"stored_{name}") for name in (*self._keys, "version")]
