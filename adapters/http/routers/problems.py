"""The landing page, and the pages of problems at the paths of their types (RFC 9457 section 3.1.1)."""

import json
from html import escape

from fastapi import APIRouter, Request, Response

from adapters.http.compiled_routes import CompiledRoute
from adapters.http.html_pages import REVALIDATE, html_page
from adapters.http.problems.catalog import NOT_FOUND, PROBLEMS, VALIDATION_FAILED
from adapters.http.problems.responses import ERROR_CODES, ProblemError, example_problem

_LINKS = {
    "/docs": ("API documentation", "Read and try each operation."),
    "/problems": ("Problems", "Find the meaning and the resolution of an error."),
    "/openapi.json": ("OpenAPI document", "Generate a client."),
    "/livez": ("Liveness", "Check that the service responds."),
    "/readyz": ("Readiness", "Check that the service can use its database."),
}
_ROWS = "\n".join(
    f"<tr><td><code>{name}</code></td><td>{escape(meaning)}</td></tr>" for name, meaning in ERROR_CODES.items()
)
_ERROR_CODES = f"<h2>Error codes</h2>\n<table>\n{_ROWS}\n</table>"

router = APIRouter(route_class=CompiledRoute, include_in_schema=False)


@router.get("/")
async def landing_page(request: Request) -> Response:
    """Describe the service, and link to the other public pages."""
    root_path = request.state.request_context.root_path
    links = "\n".join(
        f'<dt><a href="{path}">{name}</a></dt>\n<dd>{description}</dd>' for path, (name, description) in _LINKS.items()
    )
    return html_page(
        request,
        "Hexapost",
        f"""<main>
<h1>Hexapost</h1>
<p>A REST service for users and their posts. Requests to <code>{root_path}/api/v1</code> need an API key.</p>
<p class="faint">Version {escape(request.app.version)}</p>
<dl>
{links}
</dl>
</main>""",
        cache_control=REVALIDATE,
    )


@router.get("/problems")
async def index(request: Request) -> Response:
    """List all problems."""
    rows = "\n".join(
        f'<tr><td>{one.status}</td><td>{escape(one.title)}<br><a href="{one.type}"><code>{code}</code></a></td></tr>'
        for code, one in sorted(PROBLEMS.items(), key=lambda item: (item[1].status, item[0]))
    )
    return html_page(
        request,
        "Problems",
        f"""<main>
<h1>Problems</h1>
<p>Each error response is a problem document (RFC 9457). Its <code>type</code> is the path of one of these pages.</p>
<table>
<tr><th>Status</th><th>Problem</th></tr>
{rows}
</table>
</main>""",
    )


@router.get("/problems/{code}")
async def page(request: Request, code: str) -> Response:
    """Document one problem."""
    if code not in PROBLEMS:
        raise ProblemError(NOT_FOUND)
    problem = PROBLEMS[code]
    body = example_problem(problem, request.state.request_context.root_path)
    example = escape(json.dumps(body, indent=2), quote=False)
    return html_page(
        request,
        problem.title,
        f"""<main>
<h1>{escape(problem.title)}</h1>
<p class="faint"><code>{code}</code>, status {problem.status}</p>
<h2>Meaning</h2>
<p>{escape(problem.default_detail)}</p>
<h2>Resolution</h2>
<p>{escape(problem.resolution)}</p>
{_ERROR_CODES if problem is VALIDATION_FAILED else ""}
<h2>Example</h2>
<pre><code>{example}</code></pre>
</main>""",
    )
