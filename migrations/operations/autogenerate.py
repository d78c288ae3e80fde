"""Writes new revisions for `make migration`: after the last one of their phase, with safe operations."""

from collections.abc import Callable, Iterator
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text, renderers
from alembic.operations import MigrateOperation, ops
from alembic.runtime.migration import MigrationContext

from migrations.runner.phases import Phase, expand_heads, single_head


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
    """An operation that is rendered as a safe operation."""

    def __init__(self, original: MigrateOperation, render: Callable[[AutogenContext], str]) -> None:
        self.original = original
        self.render = render

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference that `alembic check` prints."""
        return self.original.to_diff_tuple()


@renderers.dispatch_for(SafeRewrite)
def _render(context: AutogenContext, operation: SafeRewrite) -> str:
    return operation.render(context)


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
    if any(isinstance(each, SafeRewrite) for each in found):
        for each in found:
            if isinstance(each, ops.CreateTableOp | ops.AddColumnOp | ops.CreateIndexOp):
                each.if_not_exists = True
            elif isinstance(each, ops.DropTableOp | ops.DropColumnOp | ops.DropIndexOp):
                each.if_exists = True


def _rewrite(original: MigrateOperation) -> Iterator[MigrateOperation]:
    """Yield the replacements of an operation, or the operation if it has no safe form."""
    match original:
        case ops.CreateIndexOp():
            yield SafeRewrite(
                original,
                lambda context: render_op_text(context, original).replace("index(", "index_concurrently(", 1),
            )
        case ops.DropIndexOp(index_name=index, table_name=table):
            yield _call(original, "drop_index_concurrently", index, table)
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
        case ops.CreateCheckConstraintOp(constraint_name=str(name), table_name=table, condition=condition):
            yield _call(original, "add_check", name, table, str(condition))
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
    return SafeRewrite(original, lambda context: f"{context.opts['alembic_module_prefix']}{name}({', '.join(values)})")
