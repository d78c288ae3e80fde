"""Where `make migration` puts a new revision, and what it makes it of."""

from collections.abc import Callable, Iterable
from typing import Any

from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from migrations.autogenerate_rewrites import rewrite_operations
from migrations.runner.lock_retry import MigrationError
from migrations.runner.phases import Phase, expand_heads

Directives = Callable[[MigrationContext, Any, list[MigrationScript]], None]


def process_revision_directives(phase: Phase) -> Directives:
    """Return what has new revisions follow the last one of their phase, and made of safe operations."""

    def place(context: MigrationContext, revision: Iterable[Any], scripts: list[MigrationScript]) -> None:  # noqa: ARG001 - Alembic's
        directory = context.opts["script"]
        expand = _only(expand_heads(directory))
        contract = frozenset(directory.get_heads()) - {expand}
        for script in scripts:
            script.head, script.splice = expand, True
            if phase is Phase.CONTRACT and contract:
                script.head, script.depends_on = _only(contract), expand
            for operations in (*script.upgrade_ops_list, *script.downgrade_ops_list):
                rewrite_operations(operations)

    return place


def _only(heads: Iterable[str]) -> str:
    (*others, head) = heads
    if others:
        raise MigrationError(f"there is more than one line of revisions: {', '.join([head, *others])}")
    return head


def require_linear_phases(scripts: ScriptDirectory) -> None:
    """Raise MigrationError unless the revisions of each phase are one line."""
    expand = expand_heads(scripts)
    _only(expand)
    _only(frozenset(scripts.get_heads()) - expand or expand)
