"""`python -m tests.benchmarks.page_depth`: compare the response times of page 1 and page 10,000 of 1,000,000 posts.

Requests for both pages alternate over one connection, so that other activity of the machine affects both.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from sqlalchemy import URL

from adapters.testing.template_databases import connected
from tests.benchmarks.database import BenchDatabase
from tests.benchmarks.deployment import Deployment
from tests.benchmarks.servers import HEXAPOST, HOST, ready
from tests.benchmarks.workloads import PAGE, POSTS
from tests.support.benchmark_server import ROOT, benchmark_databases, install_shutdown_handler

ROWS = """
    INSERT INTO users (id, email, email_normalized, is_active, created_at, updated_at, version)
    SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', true, now(), now(), 1 FROM generate_series(1, 100) AS n;
    INSERT INTO posts (author_id, id, title, content, status, created_at, updated_at, version,
        title_tokens, text_tokens)
    SELECT authors.ids[1 + n % 100], (lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid, 'title',
        repeat('some content ', 25), 'draft', now(), now(), 1, 'title', 'title some content'
    FROM (SELECT array_agg(id) FROM users) AS authors (ids), generate_series(1, {posts}) AS n;
    VACUUM (ANALYZE)
"""
FIRST_PAGE = f"{POSTS}?limit={PAGE}"

GetPage = Callable[[str], Any]
"""Returns the page at a path."""


def main(*, posts: int = 1_000_000, page: int = 10_000, requests: int = 1_000) -> int:
    """Print the medians of both pages, and their ratio."""
    install_shutdown_handler()
    with benchmark_databases("bench-postgres", _report) as databases, service(databases.empty(), posts) as get_page:
        deep_page = path_of(page, get_page)
        pairs = [[_milliseconds(get_page, path) for path in (FIRST_PAGE, deep_page)] for _ in range(requests)]
    first, deep = map(median, zip(*pairs, strict=True))
    sys.stdout.write(f"page 1: {first:.2f} ms, page {page:,}: {deep:.2f} ms, ratio {deep / first:.2f}\n")
    return 0


@contextmanager
def service(url: URL, posts: int) -> Iterator[GetPage]:
    """Store the posts in an empty database, start the service, and yield a function that requests a page."""
    with TemporaryDirectory() as directory:
        deployment = Deployment(root=ROOT, name="Hexapost", database=BenchDatabase(url), directory=Path(directory))
        deployment.prepare()
        _report(f"storing {posts:,} posts")
        with connected(url) as connection:
            for statement in ROWS.format(posts=posts).split(";"):
                connection.execute(statement.encode())
        with (
            ready([(HEXAPOST, deployment)], _report) as (server,),
            closing(HTTPConnection(HOST, server.port)) as client,
        ):

            def get_page(path: str) -> Any:
                client.request("GET", path, headers=dict(deployment.headers))
                return json.loads(client.getresponse().read())

            yield get_page


def path_of(page: int, get_page: GetPage) -> str:
    """Follow the cursors of all earlier pages, and return the path of the page."""
    path = FIRST_PAGE
    for _ in range(page - 1):
        path = f"{FIRST_PAGE}&cursor={get_page(path)['next_cursor']}"
    return path


def _milliseconds(get_page: GetPage, path: str) -> float:
    started = perf_counter()
    get_page(path)
    return (perf_counter() - started) * 1000


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
