"""The results as a table of text and as a page that stands by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from tests.drills.drill import Drill, Outcome
from tests.drills.pictures import curve_of_percentiles, latency_over_time
from tests.support.markdown import aligned

HEADS = ("drill", "driver", "claim", "figure", "pass")
STYLE = """
body { font: 15px/1.5 system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif; color: #1f2328;
  margin: 2rem auto; max-width: 1080px; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { border: 1px solid #d8dee4; padding: 6px 10px; text-align: left; vertical-align: top }
.no { background: #ffebe9 }
.yes { background: #dafbe1 }
svg { max-width: 100%; height: auto }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A drill that was carried out."""

    drill: Drill
    driver: str
    seed: str
    outcome: Outcome


def table(done: Sequence[Done]) -> str:
    """Return the claims and figures, and a line for each claim that does not hold."""
    rows = [
        (one.drill.name, one.driver, check.claim, check.figure, "yes" if check.passed else "NO")
        for one in done
        for check in one.outcome.checks
    ]
    reasons = [
        f"{one.drill.name} over {one.driver}: NOT {check.claim}: {check.reason}"
        for one in done
        for check in one.outcome.checks
        if not check.passed
    ]
    return "\n".join([*aligned([HEADS, *rows], words=len(HEADS)), *reasons]) + "\n"


def write(directory: Path, done: Sequence[Done]) -> Path:
    """Write the page and return where it is."""
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / "index.html"
    page.write_text("\n".join(_page(done)) + "\n", encoding="utf-8")
    return page


def _page(done: Sequence[Done]) -> Iterator[str]:
    failed = sum(not one.outcome.passed for one in done)
    verdict = f"{failed} of {len(done)} failed" if failed else f"all {len(done)} passed"
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Hexapost: drills</title>'
    yield f"<style>{STYLE}</style>\n<h1>Hexapost: proofs by fault injection</h1>"
    yield f"<p>{verdict}; {datetime.now(UTC).isoformat(timespec='seconds')}</p>"
    yield f"<table>\n<tr>{''.join(f'<th>{head}</th>' for head in HEADS)}</tr>"
    for one in done:
        yield from _rows(one)
    yield "</table>"
    for one in done:
        yield from _pictures(one)


def _rows(one: Done) -> Iterator[str]:
    for check in one.outcome.checks:
        figure = f"{check.figure}: {check.reason}" if check.reason else check.figure
        words = "".join(f"<td>{escape(cell)}</td>" for cell in (one.drill.name, one.driver, check.claim, figure))
        yield f"<tr>{words}<td class={'yes>yes' if check.passed else 'no>NO'}</td></tr>"


def _pictures(one: Done) -> Iterator[str]:
    title = f"{one.drill.name} over {one.driver}"
    yield f"<h2>{escape(title)}</h2>\n<p>{escape(one.drill.claim)} Seed {escape(one.seed)}.</p>"
    if one.outcome.samples:
        yield latency_over_time(one.outcome.samples, one.outcome.marks, title=f"{title}: latency over time")
        yield curve_of_percentiles(one.outcome.samples, title=f"{title}: latency by percentile")
