"""Checks of Python source: `SELECT *` in the code, and names and imports in revisions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_STAR = re.compile(
    r"\b(?:SELECT|RETURNING)\b(?:(?!\b(?:SELECT|FROM)\b).)*?[\s,.]\*\s*(?:[,);]|$|\b(?:FROM|INTO)\b)",
    re.IGNORECASE | re.DOTALL,
)
_SERVER_ATTRIBUTES = frozenset({"as_sql", "is_offline_mode", "get_bind", "bind", "connection"})


def select_star(root: Path) -> Iterator[str]:
    """Yield the places that select all columns. Their cached plans fail after a migration adds a column."""
    for path in sorted(root.rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for line in sorted({lineno for lineno, text in map(_string, nodes) if _STAR.search(text)}):
            yield f"{path}:{line}: selects all columns, which fails during a rolling migration; list the columns"


def offline_mode_checks(source: str) -> list[str]:
    """Return the attributes by which a revision can detect offline mode."""
    attributes = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    return sorted(attributes & _SERVER_ATTRIBUTES)


def internal_imports(source: str) -> list[str]:
    """Return the imports of a revision from `migrations`, except `op`."""
    names = [name for node in ast.walk(ast.parse(source)) for name in _imported(node)]
    return sorted(
        name for name in names if name.partition(".")[0] == "migrations" and name != "migrations.operations.op"
    )


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{each.name}" for each in node.names]
    return [each.name for each in node.names] if isinstance(node, ast.Import) else []


def _string(node: ast.AST) -> tuple[int, str]:
    """Return the line and text of a string; in an f-string, an expression is `_`."""
    if not isinstance(node, ast.Constant | ast.JoinedStr):
        return 0, ""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "_" for part in parts)
