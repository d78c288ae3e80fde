"""Writes new revisions for `make migration`: after the last one of their phase, with safe operations.

PostgreSQL compares checks, indexes and functions: Alembic ignores changed conditions, and does not know functions.
"""

import json
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, cast

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, ops
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, MetaData

from migrations.operations.catalog import SchemaObject, read_catalog, read_models
from migrations.runner.phases import expand_heads, single_head
from migrations.runner.revisions import Phase

PLUGIN = Plugin("hexapost.catalog")
_INDEX_KEYS = re.compile(
    r"^.*? USING \w+ \((.*?)\)( INCLUDE \(.*| NULLS NOT DISTINCT.*| WITH \(.*| WHERE .*| INVALID)?$", re.DOTALL
)
_COLUMNS = re.compile(r"[a-z_]\w*(, [a-z_]\w*)*")


def process_revision_directives(context: MigrationContext, _: object, scripts: list[ops.MigrationScript]) -> None:
    """Append new revisions to their phase, and make their operations safe; a hook of Alembic."""
    directory = context.opts["script"]
    expand = single_head(expand_heads(directory))
    contract = frozenset(directory.get_heads()) - {expand}
    for script in scripts:
        script.head, script.splice = expand, True
        if context.opts["template_args"]["phase"] is Phase.CONTRACT and contract:
            script.head, script.depends_on = single_head(contract), expand
        for operations in (*script.upgrade_ops_list, *script.downgrade_ops_list):
            _rewrite_operations(operations)


class SafeRewrite(MigrateOperation):
    """An operation that is rendered as a call of a safe operation."""

    def __init__(self, original: MigrateOperation, call: str) -> None:
        self.original = original
        self.calls = [call]

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference that `alembic check` prints."""
        return self.original.to_diff_tuple()


class ObjectChange(MigrateOperation):
    """Creates a check, an index or a function, or drops it; replaces a function."""

    def __init__(self, old: SchemaObject | None, new: SchemaObject | None) -> None:
        self.old = old
        self.new = new

    def reverse(self) -> "ObjectChange":
        """Return the operation of the downgrade."""
        return ObjectChange(self.new, self.old)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference that `alembic check` prints."""
        verb = "add" if self.old is None else "modify" if self.new is not None else "remove"
        return verb, *(self.new or self.old or ())[:3]

    @property
    def calls(self) -> list[str]:
        """The calls of operations."""
        drops = [_drop(self.old)] if self.old and not (self.new and self.new.detail == self.old.detail) else []
        return [*drops, *([_create(self.new)] if self.new else [])]


@renderers.dispatch_for(SafeRewrite)
@renderers.dispatch_for(ObjectChange)
def _render(context: AutogenContext, operation: SafeRewrite | ObjectChange) -> list[str]:
    return [context.opts["alembic_module_prefix"] + call for call in operation.calls]


def _drop(old: SchemaObject) -> str:
    if old.kind == "function":
        return f"execute({_literal(f'DROP ROUTINE IF EXISTS {old.name}')})"
    operation = "drop_constraint_if_exists" if old.kind == "check" else "drop_index_concurrently"
    return f"{operation}({old.name!r}, {old.table!r})"


def _create(new: SchemaObject) -> str:
    if new.kind == "function":
        return f"execute({_literal(new.definition.rstrip())})"
    if new.kind == "check":
        return f"add_check({new.name!r}, {new.table!r}, {new.detail!r})"
    options = {name: repr(value) for name, value in json.loads(new.detail).items()}
    if where := json.loads(new.detail).get("postgresql_where"):
        options["postgresql_where"] = f"sa.text({_literal(where)})"
    keys = _INDEX_KEYS.sub(r"\1", new.definition)
    columns = repr(keys.split(", ")) if _COLUMNS.fullmatch(keys) else f"[sa.text({_literal(keys)})]"
    arguments = ", ".join([repr(new.name), repr(new.table), columns, *map("=".join, options.items())])
    return f"create_index_concurrently({arguments})"


def _literal(sql: str) -> str:
    """Return SQL for text() as a literal for each line, because the template indents lines."""
    escaped = re.sub(r"(?<![:\w\\]):(?=\w)|\\(?=:)", r"\\\g<0>", sql)
    return "\n".join(map(repr, escaped.splitlines(keepends=True)))


def compare_catalogs(context: AutogenContext, upgrade: ops.UpgradeOps, _: object) -> PriorityDispatchResult:
    """Add the differences of checks and functions, and replace Alembic's comparison of indexes on existing tables."""
    connection, metadata = cast("Connection", context.connection), cast("MetaData", context.metadata)
    database, models = read_catalog(connection), read_models(connection, metadata)
    changed = [key for key in dict.fromkeys((*database, *models)) if database.get(key) != models.get(key)]
    for table in sorted(name for kind, name, _ in database.keys() & models.keys() if kind == "table"):
        drops = [ObjectChange(database[key], None) for key in changed if key[1] == table and key in database]
        adds = [ObjectChange(None, models[key]) for key in changed if key[1] == table and key in models]
        tables = (each for each in upgrade.ops if isinstance(each, ops.ModifyTableOps) and each.table_name == table)
        modified = next(tables, ops.ModifyTableOps(table, []))
        kept = [each for each in modified.ops if not isinstance(each, ops.CreateIndexOp | ops.DropIndexOp)]
        modified.ops[:] = [*drops, *kept, *adds]
        upgrade.ops = [each for each in upgrade.ops if each is not modified] + [modified] * (not modified.is_empty())
    functions = [ObjectChange(database.get(key), models.get(key)) for key in changed if key[0] == "function"]
    # Functions that the models create before the tables come first, because checks and indexes can use them.
    before_tables = set(takewhile(lambda key: key[0] == "function", models))
    first = [each for each in functions if each.new and tuple(each.new[:3]) in before_tables]
    upgrade.ops[:] = [*first, *upgrade.ops, *(each for each in functions if each not in first)]
    return PriorityDispatchResult.CONTINUE


PLUGIN.add_autogenerate_comparator(compare_catalogs, "schema", priority=DispatchPriority.LAST)


def _rewrite_operations(container: ops.OpContainer) -> None:
    """Replace operations on existing tables by safe operations.

    A revision with safe operations can be repeated, so its other operations get IF (NOT) EXISTS.
    """
    new_or_dropped = {
        each.table_name for each in container.ops if isinstance(each, ops.CreateTableOp | ops.DropTableOp)
    }
    tables = [each for each in container.ops if isinstance(each, ops.ModifyTableOps)]
    for table in tables:
        if table.table_name not in new_or_dropped:
            table.ops[:] = [rewritten for original in table.ops for rewritten in _rewrite(original)]
    found = [*container.ops, *(each for table in tables for each in table.ops)]
    if any(isinstance(each, SafeRewrite | ObjectChange) for table in tables for each in table.ops):
        for each in found:
            if isinstance(each, ops.CreateTableOp | ops.AddColumnOp | ops.CreateIndexOp):
                each.if_not_exists = True
            elif isinstance(each, ops.DropTableOp | ops.DropColumnOp | ops.DropIndexOp):
                each.if_exists = True


def _rewrite(original: MigrateOperation) -> Iterator[MigrateOperation]:
    """Yield the replacements of an operation, or the operation if it has no safe form."""
    match original:
        case ops.CreateUniqueConstraintOp(constraint_name=str(name), kw=kw) if not any(kw.values()):
            columns = [str(column) for column in original.columns]
            yield _call(original, "add_unique", name, original.table_name, columns)
        case ops.CreateForeignKeyOp(constraint_name=str(name), kw=kw) if not any(
            kw[key] for key in kw.keys() - {"ondelete"}
        ):
            options = {"ondelete": kw["ondelete"]} if kw.get("ondelete") else {}
            columns, remote = list(map(str, original.local_cols)), list(map(str, original.remote_cols))
            tables = original.source_table, original.referent_table
            yield _call(original, "add_foreign_key", name, *tables, columns, remote, **options)
        case ops.DropConstraintOp(constraint_name=str(name), table_name=table):
            yield _call(original, "drop_constraint_if_exists", name, table)
        case ops.AlterColumnOp(modify_nullable=bool(nullable), table_name=table, column_name=column):
            original.modify_nullable = None
            if original.has_changes():
                yield original
            yield _call(original, "drop_not_null" if nullable else "add_not_null", table, column)
        case _:
            yield original


def _call(original: MigrateOperation, name: str, *arguments: Any, **keywords: Any) -> SafeRewrite:
    values = [repr(str(each) if isinstance(each, str) else each) for each in arguments]
    values += [f"{keyword}={value!r}" for keyword, value in keywords.items()]
    return SafeRewrite(original, f"{name}({', '.join(values)})")
