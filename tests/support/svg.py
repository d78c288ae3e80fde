"""The few shapes of a chart, as SVG 1.1."""

import re
from collections.abc import Iterable
from html import escape
from typing import Literal

Theme = Literal["light", "dark"]

INK = "#1f2328"
FAINT = "#59636e"
GRID = "#d8dee4"
PAPER = "#ffffff"
DARK = {
    INK: "#e6edf3",
    FAINT: "#9198a1",
    GRID: "#3d444d",
    PAPER: "#151b23",
    "#0969da": "#4493f8",
    "#bc4c00": "#f0883e",
    "#6e7781": "#9198a1",
    "#54aeff": "#79c0ff",
    "#cf222e": "#f85149",
    "#1a7f37": "#3fb950",
    "#bf3989": "#db61a2",
    "#8250df": "#ab7df8",
    "#9a6700": "#d29922",
    "#fff1e5": "#3a2617",
}
"""Colors of charts, and their replacements in a dark color scheme."""
_DARK_RULES = "".join(
    f'[{attribute}="{light}"]{{{attribute}:{dark}}}' for light, dark in DARK.items() for attribute in ("fill", "stroke")
)
FONTS = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, DejaVu Sans, sans-serif"


def document(width: float, height: float, shapes: Iterable[str], *, title: str, theme: Theme | None = None) -> str:
    """Return a picture of that size with this theme. Without a theme, it follows the color scheme."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONTS}">'
    style = [] if theme else [f"<style>@media (prefers-color-scheme: dark){{{_DARK_RULES}}}</style>"]
    paper = rectangle(0, 0, width, height, fill=PAPER)
    picture = "\n".join([head, f"<title>{escape(title)}</title>", *style, paper, *shapes, "</svg>\n"])
    return re.sub('"(#[0-9a-f]{6})"', _dark, picture) if theme == "dark" else picture


def _dark(color: re.Match[str]) -> str:
    return f'"{DARK[color[1]]}"'


def text(
    x: float, y: float, words: str, *, size: float = 12, fill: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    """Return words whose base line is at y."""
    weight = ' font-weight="600"' if bold else ""
    position = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {position} font-size="{size:g}" fill="{fill}"{weight}>{escape(words)}</text>'


def rectangle(x: float, y: float, width: float, height: float, *, fill: str) -> str:
    """Return a filled rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(0.0, height):.1f}" fill="{fill}"/>'


def line(x1: float, y1: float, x2: float, y2: float, *, stroke: str = GRID) -> str:
    """Return a thin straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"/>'


def curve(points: Iterable[tuple[float, float]], *, stroke: str) -> str:
    """Return a line through the points."""
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{stroke}" stroke-width="2" stroke-linejoin="round"/>'
