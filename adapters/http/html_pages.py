"""HTML pages in one style. They work offline and without scripts."""

from html import escape

from fastapi import Request, Response

REVALIDATE = "public, no-cache"
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def html_page(
    request: Request, title: str, body: str, *, policy: str = _POLICY, cache_control: str = "public, max-age=3600"
) -> Response:
    """Return a page with a navigation above the body. The style sheet formats the content of `main`.

    The links are paths of the service. They get the prefix that it has behind a proxy.
    """
    content = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="/docs/assets/favicon.png">
<link rel="stylesheet" href="/docs/assets/style.css">
</head>
<body>
<nav><a href="/">Hexapost</a> <a href="/docs">API</a> <a href="/problems">Problems</a></nav>
{body}
</body>
</html>
"""
    content = content.replace('="/', f'="{request.state.request_context.root_path}/')
    headers = {"cache-control": cache_control, "content-security-policy": policy, "referrer-policy": "no-referrer"}
    return Response(content, headers=headers, media_type="text/html; charset=utf-8")
