"""What is looked for in Python: columns that nobody names, and what revisions have no business with."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_STAR = re.compile(
    r"\b(?:SELECT|RETURNING)\b(?:(?!\b(?:SELECT|FROM)\b).)*?[\s,.]\*\s*(?:[,);]|$|\b(?:FROM|INTO)\b)",
    re.IGNORECASE | re.DOTALL,
)
_SERVER = frozenset({"as_sql", "is_offline_mode", "get_bind", "bind", "connection"})


def select_star(root: Path) -> Iterator[str]:
    """Yield where code asks for all columns: its cached plans fail when a migration adds one."""
    for path in sorted(root.rglob("*.py")):
        for line, text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            if _STAR.search(text):
                yield f"{path}:{line}: asks for all columns, which fails in a rolling migration: name them"


def offline_mode_checks(path: Path) -> list[str]:
    """Return the names in a revision by which it can tell whether it is run on a server or written as SQL."""
    found = {
        node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)
    }
    return sorted(found & _SERVER)


def internal_imports(path: Path) -> list[str]:
    """Return what a revision imports of `migrations` that is not for revisions: all but `op`."""
    return sorted(
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.partition(".")[0] == "migrations" and name != "migrations.operations.op"
    )


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{each.name}" for each in node.names]
    return [each.name for each in node.names] if isinstance(node, ast.Import) else []


def _texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield lines and strings, what is inserted into them left out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    elif isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "_" for part in node.values)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _texts(part.value)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)
