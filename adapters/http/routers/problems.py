"""The landing page, and the pages of problems at the paths of their types (RFC 9457 section 3.1.1)."""

import base64
import hashlib
import json
from html import escape

from fastapi import APIRouter, Response

from adapters.http.problems.catalog import NOT_FOUND, PROBLEMS, VALIDATION_FAILED
from adapters.http.problems.responses import ERROR_CODES, ProblemError, example_problem

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:45rem;margin:2rem auto;padding:1rem;color:#222;background:#fff}"
    "pre{background:#f3f3f3;padding:1rem;overflow:auto}code{font-family:ui-monospace,monospace}"
    "td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "cache-control": "public, max-age=3600",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def landing_page() -> Response:
    """Link to the other public pages."""
    return _html(
        "Hexapost",
        "<p>Users and posts over REST.</p>",
        '<ul>\n<li><a href="/docs">API documentation</a></li>\n<li><a href="/openapi.json">OpenAPI document</a></li>\n'
        '<li><a href="/problems">Problems</a></li>\n</ul>',
    )


@router.get("/problems")
async def index() -> Response:
    """List all problems."""
    rows = "\n".join(
        f'<tr><td>{one.status}</td><td><a href="{one.type}">{code}</a></td><td>{escape(one.title)}</td></tr>'
        for code, one in sorted(PROBLEMS.items(), key=lambda item: (item[1].status, item[0]))
    )
    return _html("Problems", f"<table>\n{rows}\n</table>", '<p><a href="/docs">API documentation</a></p>')


@router.get("/problems/{code}")
async def page(code: str) -> Response:
    """Document one problem."""
    if code not in PROBLEMS:
        raise ProblemError(NOT_FOUND)
    problem = PROBLEMS[code]
    example = escape(json.dumps(example_problem(problem), indent=2), quote=False)
    rows = "\n".join(
        f"<tr><td><code>{name}</code></td><td>{escape(meaning)}</td></tr>" for name, meaning in ERROR_CODES.items()
    )
    return _html(
        problem.title,
        f"<p><code>{code}</code>, status {problem.status}</p>",
        f"<h2>Meaning</h2>\n<p>{escape(problem.default_detail)}</p>",
        f"<h2>Resolution</h2>\n<p>{escape(problem.resolution)}</p>",
        f"<h2>Error codes</h2>\n<table>\n{rows}\n</table>" if problem is VALIDATION_FAILED else "",
        f"<h2>Example</h2>\n<pre><code>{example}</code></pre>",
        '<p><a href="/problems">All problems</a></p>',
    )


def _html(title: str, *parts: str) -> Response:
    body = "\n".join(parts)
    content = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""
    return Response(content, headers=_HEADERS, media_type="text/html; charset=utf-8")
