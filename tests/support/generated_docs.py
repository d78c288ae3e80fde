"""`python -m tests.support.generated_docs`: write the generated parts of docs/. With `--check`, compare them."""

import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families

import adapters.http.app  # noqa: F401 - it loads the modules that define problems
from adapters.cli.settings_table import markdown_tables
from adapters.http.problems.catalog import PROBLEMS
from adapters.observability.metrics import Metrics
from tests.benchmarks import chart, publication
from tests.support import architecture_picture
from tests.support.svg import Theme

DOCS = Path(__file__).parents[2] / "docs"


def main(arguments: list[str]) -> int:
    """Write all generated parts, or return 1 if one differs from its source."""
    outdated = [path for path, text in _documents() if not path.exists() or path.read_text("utf-8") != text]
    if arguments == ["--check"]:
        for path in outdated:
            sys.stderr.write(f"{path} differs from its source. Run: make docs\n")
        return 1 if outdated else 0
    for path, text in _documents():
        path.write_text(text, encoding="utf-8")
    return 0


def replace_part(page: str, part: str, lines: Iterable[str]) -> str:
    """Return the page with the lines between the markers of the part. Raises ValueError without the markers."""
    begin, end = f"<!-- generated: {part} -->\n", f"<!-- end: {part} -->\n"
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the page has no markers for {part}")
    return "".join([before, begin, "\n", "\n".join(lines).strip(), "\n\n", end, after])


def metric_table() -> Iterable[str]:
    """Return the lines of a table with each metric in the registry."""
    yield from ["| metric | labels | type | meaning |", "|---|---|---|---|"]
    metrics = Metrics(version="")
    for family in text_string_to_metric_families(metrics.render().decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metrics.label_names[name])
        yield f"| `{name}` | {f'{labels} ' if labels else ''}| {family.type} | {family.documentation.rstrip('.')} |"


def problem_table() -> Iterable[str]:
    """Return the lines of a table with each problem, by status and code."""
    yield from ["| code | status | cause | remedy |", "|---|---|---|---|"]
    for problem in sorted(PROBLEMS.values(), key=lambda problem: (problem.status, problem.code)):
        remedy = escape(problem.resolution, quote=False)
        yield f"| `{problem.code}` | {problem.status} | {problem.default_detail} | {remedy} |"


def _documents() -> Iterable[tuple[Path, str]]:
    benchmark = publication.published()
    for name, part, lines in (
        ("benchmarks.md", "results", publication.markdown(benchmark)),
        ("configuration.md", "settings", markdown_tables()),
        ("observability.md", "metrics", metric_table()),
        ("troubleshooting.md", "problems", problem_table()),
    ):
        path = DOCS / name
        yield path, replace_part(path.read_text("utf-8"), part, lines)
    for theme in get_args(Theme):
        yield DOCS / f"img/architecture-{theme}.svg", architecture_picture.render(architecture_picture.THEMES[theme])
        yield DOCS / f"img/benchmark-{theme}.svg", chart.render(benchmark, theme=theme)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
