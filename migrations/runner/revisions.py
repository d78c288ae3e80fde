"""The revisions of this release, read from their files.

Each worker compares them with the database. It does without Alembic, which would take memory and time of each start.
"""

import ast
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

VERSIONS = Path(__file__).parents[1] / "versions"


class Phase(StrEnum):
    """When a revision can be applied: at any time, or after the last process of an older release."""

    EXPAND = "expand"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True)
class Revision:
    """The revisions that a revision follows or depends on, and its declared phase."""

    parents: frozenset[str]
    phase: str | None


Revisions = Mapping[str, Revision]
"""Revisions by their ID."""


@cache
def read_revisions(directory: Path = VERSIONS) -> Revisions:
    """Return the revisions whose files are in a directory."""
    found = [declared for path in sorted(directory.glob("*.py")) if "revision" in (declared := _declarations(path))]
    names = [str(declared["revision"]) for declared in found]
    return {
        name: Revision(_parents(declared, names), declared.get("phase"))
        for name, declared in zip(names, found, strict=True)
    }


def _declarations(path: Path) -> Mapping[str, Any]:
    """Return the variables of a module whose values are literals."""
    declared: dict[str, Any] = {}
    for statement in ast.parse(path.read_bytes()).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                with suppress(ValueError):
                    declared[name] = ast.literal_eval(value)
    return declared


def _parents(declared: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
    """Return the parents of a revision. Alembic permits abbreviated IDs."""
    given: list[str] = []
    for value in (declared.get("down_revision"), declared.get("depends_on")):
        given += [value] if isinstance(value, str) else value or ()
    return frozenset(next((name for name in names if name.startswith(parent)), parent) for parent in given)


def with_ancestors(revisions: Revisions, names: Iterable[str]) -> frozenset[str]:
    """Return the known ones of these revisions, and all their ancestors."""
    found: set[str] = set()
    rest = {*names}
    while rest := (rest & revisions.keys()) - found:
        found |= rest
        rest = {parent for name in rest for parent in revisions[name].parents}
    return frozenset(found)


def expand_heads(revisions: Revisions) -> frozenset[str]:
    """Return the last expand revision, or several if they branch. The release needs them."""
    expand = {name: revision for name, revision in revisions.items() if revision.phase == Phase.EXPAND}
    return frozenset(expand) - {parent for revision in expand.values() for parent in revision.parents}


def decode_applied(record: str) -> dict[str, str | None]:
    """Return the revisions that `encode_applied` encoded; a contract revision has the release from which it is safe."""
    items = (item.partition(">=") for item in record.split())
    return {revision: release or None for revision, _, release in items}
