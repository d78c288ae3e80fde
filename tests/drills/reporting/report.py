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
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; margin: 2rem auto; max-width: 1080px; padding: 0 1rem }
h2 { margin: 3rem 0 .2rem } .faint { color: #59636e } svg { max-width: 100%; height: auto; display: block }
table { border-collapse: collapse; width: 100%; font-size: 14px } th, tr.drill td { background: #f6f8fa }
td, th { border-bottom: 1px solid #d8dee4; padding: 5px 10px; text-align: left; vertical-align: top }
.no { background: #ffebe9; color: #cf222e } .yes { background: #dafbe1; color: #1a7f37 }
.reason { color: #cf222e; overflow-wrap: anywhere } .badge { border-radius: 1em; padding: .1em .7em; font-size: 14px }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRun:
    """Checks of a drill over a driver, and its chart in SVG, if it has one."""

    drill: Scenario
    driver: str
    seed: str
    checks: Sequence[Verification]
    chart: str = ""

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
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.system()}, {os.cpu_count()} cores"
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Hexapost: drills</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<style>{STYLE}</style>\n<h1>Hexapost: fault-injection tests</h1>"
    yield f"<p>{_badge(verdict, passed=not failed)} <span class=faint>{escape(made)}</span></p>"
    yield "<table>\n<tr><th>claim</th><th>figure</th><th>pass</th></tr>"
    for one in done:
        yield from _rows(one)
    yield "</table>"
    for one in done:
        yield from _pictures(one)


def _badge(words: str, *, passed: bool) -> str:
    return f'<span class="badge {"yes" if passed else "no"}">{escape(words)}</span>'


def _rows(one: ScenarioRun) -> Iterator[str]:
    claim = f"<b>{escape(str(one))}</b> <span class=faint>{escape(one.drill.claim)}</span>"
    yield f"<tr class=drill><td colspan=3>{claim}</td></tr>"
    for check in one.checks:
        reason = f"<div class=reason>{escape(check.reason)}</div>" if check.reason not in {"", check.figure} else ""
        figure = f"<td>{escape(check.figure)}{reason}</td>"
        yield f"<tr><td>{escape(check.claim)}</td>{figure}<td class={'yes>yes' if check.passed else 'no>NO'}</td></tr>"


def _pictures(one: ScenarioRun) -> Iterator[str]:
    yield f"<h2>{escape(str(one))} {_badge('passed' if one.passed else 'failed', passed=one.passed)}</h2>"
    yield f"<p>{escape(one.drill.claim)} <span class=faint>Seed {escape(one.seed)}.</span></p>{one.chart}"
