"""What autogenerate finds, as safe operations: what `make migration` writes is what `make check` lets through."""

from collections.abc import Callable, Iterator
from typing import Any

from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text, renderers
from alembic.operations import MigrateOperation, ops
from sqlalchemy import CheckConstraint, Table


@comparators.dispatch_for("table")
def compare_check_constraints(  # noqa: PLR0917 - Alembic calls it by position
    context: AutogenContext,
    table_ops: ops.ModifyTableOps,
    schema: str | None,
    table_name: str,
    existing: Table | None,
    wanted: Table | None,
) -> None:
    """Add the CHECK constraints to a comparison by name, because Alembic does not compare them."""
    if existing is None or wanted is None:
        return
    checks = {str(each.name): each for each in wanted.constraints if isinstance(each, CheckConstraint)}
    stored = {str(each["name"]): each for each in context.inspector.get_check_constraints(table_name, schema)}
    for name in checks.keys() - stored.keys():
        table_ops.ops.append(ops.CreateCheckConstraintOp(name, table_name, str(checks[name].sqltext)))
    for name in stored.keys() - checks.keys():
        check = ops.CreateCheckConstraintOp(name, table_name, stored[name]["sqltext"])
        table_ops.ops.append(ops.DropConstraintOp(name, table_name, type_="check", _reverse=check))


class SafeRewrite(MigrateOperation):
    """Stands for a plain operation, and is written as a safe one."""

    def __init__(self, original: MigrateOperation, rewritten: Callable[[AutogenContext], str]) -> None:
        self.original = original
        self.rewritten = rewritten

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` says of it."""
        return self.original.to_diff_tuple()


@renderers.dispatch_for(SafeRewrite)
def _render(context: AutogenContext, operation: SafeRewrite) -> str:
    return operation.rewritten(context)


def rewrite_operations(container: ops.OpContainer) -> None:
    """Replace operations on tables that are neither made nor dropped here by safe ones, where there are such.

    With a safe operation in it a revision may be repeated: the plain ones then say IF (NOT) EXISTS.
    """
    own = {each.table_name for each in container.ops if isinstance(each, ops.CreateTableOp | ops.DropTableOp)}
    tables = [each for each in container.ops if isinstance(each, ops.ModifyTableOps)]
    for table in tables:
        if table.table_name not in own:
            table.ops[:] = [form for plain in table.ops for form in _rewrites(plain)]
    found = [*container.ops, *(each for table in tables for each in table.ops)]
    if any(isinstance(each, SafeRewrite) for each in found):
        for each in found:
            if isinstance(each, ops.CreateTableOp | ops.AddColumnOp | ops.CreateIndexOp):
                each.if_not_exists = True
            elif isinstance(each, ops.DropTableOp | ops.DropColumnOp | ops.DropIndexOp):
                each.if_exists = True


def _rewrites(plain: MigrateOperation) -> Iterator[MigrateOperation]:
    """Yield what a plain operation is written as; it itself when there is no safe form."""
    match plain:
        case ops.CreateIndexOp():
            yield SafeRewrite(plain, lambda context: _renamed(render_op_text(context, plain)))
        case ops.DropIndexOp(index_name=index, table_name=table):
            yield _called(plain, "drop_index_concurrently", index, table)
        case ops.CreateUniqueConstraintOp(constraint_name=str(name), kw=kw) if not any(kw.values()):
            yield _called(plain, "add_unique", name, plain.table_name, [str(column) for column in plain.columns])
        case ops.CreateForeignKeyOp(constraint_name=str(name), kw=kw) if not any(
            kw[key] for key in kw.keys() - {"ondelete"}
        ):
            given = {"ondelete": kw["ondelete"]} if kw.get("ondelete") else {}
            columns = [str(column) for column in plain.local_cols], [str(column) for column in plain.remote_cols]
            yield _called(plain, "add_foreign_key", name, plain.source_table, plain.referent_table, *columns, **given)
        case ops.CreateCheckConstraintOp(constraint_name=str(name), table_name=table, condition=condition):
            yield _called(plain, "add_check", name, table, str(condition))
        case ops.DropConstraintOp(constraint_name=str(name), table_name=table):
            yield _called(plain, "drop_constraint_if_exists", name, table)
        case ops.AlterColumnOp(modify_nullable=bool(nullable), table_name=table, column_name=column):
            plain.modify_nullable = None
            if plain.has_changes():
                yield plain
            yield _called(plain, "drop_not_null" if nullable else "add_not_null", table, column)
        case _:
            yield plain


def _called(plain: MigrateOperation, name: str, *arguments: Any, **keywords: Any) -> SafeRewrite:
    given = [repr(str(each) if isinstance(each, str) else each) for each in arguments]
    given += [f"{keyword}={value!r}" for keyword, value in keywords.items()]
    return SafeRewrite(plain, lambda context: f"{context.opts['alembic_module_prefix']}{name}({', '.join(given)})")


def _renamed(code: str) -> str:
    return code.replace("create_index(", "create_index_concurrently(", 1)
