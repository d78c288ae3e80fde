"""The picture of the architecture in the README, in one version for each theme."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from tests.support.svg import FONTS, text

TITLE = "HTTP and CLI call the application. PostgreSQL and memory implement its ports."
WIDTH, HEIGHT = 880, 330
SMALL = 14
"""The font size of all texts except the names of packages."""


@dataclass(frozen=True, slots=True)
class Theme:
    """The colors of a picture."""

    paper: str
    ink: str
    faint: str
    adapter: str
    application: str
    domain: str


THEMES = {
    "light": Theme("#ffffff", "#1f2328", "#59636e", "#ddf4ff", "#dafbe1", "#fff8c5"),
    "dark": Theme("#0d1117", "#f0f6fc", "#9198a1", "#0c2d6b", "#0f3d1c", "#4d3800"),
}


def render(theme: Theme) -> str:
    """Return the picture as SVG."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="{FONTS}">'
    tip = f'<path d="M0 0L9 4.5L0 9z" fill="{theme.faint}"/>'
    shapes = [
        f"<title>{escape(TITLE)}</title>",
        f'<marker id="tip" markerWidth="9" markerHeight="9" refX="9" refY="4.5" orient="auto">{tip}</marker>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{theme.paper}"/>',
        *_box(theme, theme.adapter, (20, 50, 190), "adapters/http", "FastAPI routes, problems"),
        *_box(theme, theme.adapter, (20, 180, 190), "adapters/cli", "the hexapost command"),
        *_box(theme, theme.application, (300, 50, 240), "application", "use cases, authorization"),
        *_box(theme, theme.domain, (300, 180, 240), "domain", "entities and their rules"),
        *_box(theme, theme.adapter, (640, 50, 220), "adapters/postgres", "SQL on asyncpg or psycopg"),
        *_box(theme, theme.adapter, (640, 180, 220), "adapters/memory", "storage for unit tests"),
        _arrow(theme, "M210 85H298"),
        _arrow(theme, "M210 215H255V105H298"),
        _arrow(theme, "M420 120V178"),
        _arrow(theme, "M640 85H542", dashed=True),
        _arrow(theme, "M640 215H590V105H542", dashed=True),
        _arrow(theme, "M20 298H80"),
        text(92, 303, "calls", size=SMALL, fill=theme.faint),
        _arrow(theme, "M160 298H220", dashed=True),
        text(232, 303, "implements the ports of the application", size=SMALL, fill=theme.faint),
        text(860, 303, "adapters/container.py connects all parts", size=SMALL, fill=theme.faint, anchor="end"),
    ]
    return "\n".join([head, *shapes, "</svg>\n"])


def _box(theme: Theme, fill: str, position: tuple[int, int, int], name: str, content: str) -> Iterable[str]:
    x, y, width = position
    yield f'<rect x="{x}" y="{y}" width="{width}" height="70" rx="6" fill="{fill}" stroke="{theme.faint}"/>'
    yield text(x + width // 2, y + 31, name, size=17, fill=theme.ink, anchor="middle", bold=True)
    yield text(x + width // 2, y + 53, content, size=SMALL, fill=theme.ink, anchor="middle")


def _arrow(theme: Theme, path: str, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="6 5"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{theme.faint}" stroke-width="1.5"{dashes} marker-end="url(#tip)"/>'
