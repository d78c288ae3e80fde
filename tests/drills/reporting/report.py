"""Results as a text table and as a self-contained HTML page."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from tests.drills.scenario import Scenario, Verification
from tests.support.markdown import format_table

HEADS = ("drill", "driver", "claim", "figure", "pass")
STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --faint: #59636e; --paper: #fff; --line: #d8dee4; --fault: #fff1e5;
  --good: #1a7f37; --bad: #cf222e }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --faint: #9198a1; --paper: #151b23; --line: #3d444d;
  --fault: #3a2617; --good: #4ac26b; --bad: #f85149 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--paper); margin: 2rem auto;
  max-width: 1080px; padding: 0 1rem; overflow-wrap: break-word }
h1 { line-height: 1.2 } section { margin-top: 3rem } h2, h3 { margin: 1rem 0 .2rem } p { margin: .2rem 0 }
a { color: inherit } .faint { color: var(--faint) } .yes { color: var(--good) } .no, .reason { color: var(--bad) }
.yes, .no { font-weight: bold; white-space: nowrap } summary { margin-top: .5rem; cursor: pointer }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 } ul { margin: 0; padding-left: 1.2em }
td, th { border-bottom: 1px solid var(--line); padding: 5px 10px 5px 0; text-align: left; vertical-align: top }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem }
figure { margin: 0 } svg { width: 100%; height: auto; display: block } figcaption { color: var(--faint) }
.fault { display: inline-block; width: 1em; height: 1em; vertical-align: -.1em; background: var(--fault) }
@media (max-width: 640px) { table, tbody, tr, td { display: block } th { display: none }
  td { border: 0; padding: 0 } tr { border-bottom: 1px solid var(--line); padding: 6px 0 } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRun:
    """Checks of a drill over a driver, its length, and its charts in HTML, if it has attempts."""

    drill: Scenario
    driver: str
    seed: str
    checks: Sequence[Verification]
    seconds: float = 0.0
    charts: str = ""

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        return f"{self.drill.name} over {self.driver}"


def table(done: Sequence[ScenarioRun]) -> str:
    """Return a table of claims and figures, and a line per failed claim."""
    checks = [(one, check) for one in done for check in one.checks]
    rows = [
        (one.drill.name, one.driver, check.claim, check.figure, "yes" if check.passed else "NO")
        for one, check in checks
    ]
    reasons = [f"{one}: NOT {check.claim}: {check.reason}" for one, check in checks if not check.passed]
    return "\n".join([*format_table([HEADS, *rows], words=len(HEADS)), *reasons]) + "\n"


def write(directory: Path, done: Sequence[ScenarioRun]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / "index.html"
    page.write_text("\n".join(_page(done)) + "\n", encoding="utf-8")
    return page


def _page(done: Sequence[ScenarioRun]) -> Iterator[str]:
    failed = sum(not one.passed for one in done)
    verdict = f"{failed} of {len(done)} failed" if failed else f"all {len(done)} passed"
    length = f"{sum(one.seconds for one in done) / 60:.1f} minutes"
    measured = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()}, {os.cpu_count()} cores, {length}"
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Hexapost: drills</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<style>{STYLE}</style>\n<h1>Hexapost: fault-injection tests</h1>"
    yield f"<p>{_verdict(verdict, passed=not failed)} <span class=faint>{escape(measured)}</span></p>"
    yield "<table>\n<tr><th>guarantee</th><th>figures</th><th>result</th></tr>"
    for one in done:
        yield from _guarantee(one)
    yield "</table>"
    for one in done:
        yield from _details(one)


def _verdict(words: str, *, passed: bool) -> str:
    return f'<span class="{"yes" if passed else "no"}">{escape(words)}</span>'


def _result(*, passed: bool) -> str:
    return _verdict("passed" if passed else "failed", passed=passed)


def _anchor(one: ScenarioRun) -> str:
    return f"{one.drill.name}-{one.driver}"


def _guarantee(one: ScenarioRun) -> Iterator[str]:
    """Write the claim of the drill, and its key figures and failed checks."""
    figures = [check for check in one.checks if check.is_key or not check.passed]
    items = "".join(f"<li>{escape(check.claim)}: {escape(check.figure)}</li>" for check in figures)
    link = f'<a href="#{_anchor(one)}">{escape(str(one))}</a>'
    yield f"<tr><td>{escape(one.drill.claim)}<br><span class=faint>{link}</span></td>"
    yield f"<td><ul>{items}</ul></td><td>{_result(passed=one.passed)}</td></tr>"


def _details(one: ScenarioRun) -> Iterator[str]:
    yield f'<section id="{_anchor(one)}">\n<h2>{escape(str(one))}</h2>'
    yield f"<p>{escape(one.drill.claim)}</p>"
    length = f"{one.seconds:.0f} s, seed {one.seed}"
    yield f"<p>{_result(passed=one.passed)} <span class=faint>{escape(length)}</span></p>\n{one.charts}"
    yield f"<details{' open' * (not one.passed)}>\n<summary>{len(one.checks)} checks</summary>"
    yield "<table>\n<tr><th>check</th><th>figure</th><th>result</th></tr>"
    for check in one.checks:
        reason = f"<div class=reason>{escape(check.reason)}</div>" if check.reason not in {"", check.figure} else ""
        yield f"<tr><td>{escape(check.claim)}</td><td>{escape(check.figure)}{reason}</td>"
        yield f"<td>{_result(passed=check.passed)}</td></tr>"
    yield "</table>\n</details>\n</section>"
