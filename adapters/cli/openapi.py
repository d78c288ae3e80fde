"""`hexapost openapi`: prints, writes or compares the OpenAPI document."""

import argparse
from pathlib import Path

from adapters.cli.console import print_error, print_status
from adapters.cli.service_context import NO_PEPPERS
from adapters.container import Container
from adapters.http.openapi.document import openapi_document
from adapters.settings import Settings, parse_database_url


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the document, write it to a file, or compare it with a file."""
    # The document requires an application, which connects to no database.
    unconnected = settings.model_copy(update={"database_url": parse_database_url("postgresql://localhost/nothing")})
    container = Container(settings=unconnected, cursor_secret=b"", peppers=NO_PEPPERS)
    document = openapi_document(container.app())
    if options.check is not None:
        return _compare(document, options.check)
    if options.write is not None:
        options.write.write_text(document, encoding="utf-8")
        print_status(f"wrote {options.write}")
    else:
        print(document, end="")  # noqa: T201 - the result of the command
    return 0


def _compare(document: str, path: Path) -> int:
    if path.read_text(encoding="utf-8") == document:
        print_status(f"{path} is up to date")
        return 0
    print_error(f"{path} differs from the code. Run: hexapost openapi --write {path}")
    return 1
