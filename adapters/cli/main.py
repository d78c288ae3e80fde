"""The `hexapost` command: runs a subcommand and prints its errors, each in one line.

The modules of the commands import most libraries inside functions, because these take a second to load. `--help` also
needs neither asyncio nor the metadata of packages, which took a third of its time.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

from typer import Exit, Option, Typer, TyperException
from typer.main import get_command

from adapters.cli import audit, keys, maintenance, serve, settings_table, users
from adapters.cli.arguments import remove_values
from adapters.cli.console import print_error
from adapters.observability.nonblocking_stream import discard_unwritten_output

FAILED = 1
USAGE_ERROR = 2

app = Typer(
    help="Users and posts over REST. Settings come from the environment and from files; see docs/configuration.md.",
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.command("worker", hidden=True)(serve.work)
app.command("migrate")(maintenance.migrate)
app.command("check")(maintenance.check)
app.add_typer(keys.app, name="keys")
app.add_typer(users.app, name="users")
app.add_typer(audit.app, name="audit")
app.command("purge")(maintenance.purge)
app.command("with-database", context_settings={"allow_interspersed_args": False})(maintenance.with_database)
app.command("openapi")(maintenance.openapi)
app.command("settings")(settings_table.settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 for success, 1 for failure, 2 for a usage error."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        return get_command(app).main(given, "hexapost", standalone_mode=False) or 0
    except TyperException as error:
        print_error(remove_values(error.format_message(), given))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - raised again if it is not expected
        return _print_expected(error)
    finally:
        discard_unwritten_output()


def _print_expected(error: Exception) -> int:
    """Print an error of the settings or of the environment. Raise any other error again."""
    from adapters.embedded import EmbeddedPostgresError
    from adapters.settings import SettingsError
    from application.ports import TransientStorageError
    from migrations.runner.lock_retry import MigrationError

    if isinstance(error, SettingsError):
        for line in error.errors:
            print_error(line)
        return USAGE_ERROR
    if isinstance(error, EmbeddedPostgresError | MigrationError | TransientStorageError | OSError):
        print_error(str(error) or "cannot connect to PostgreSQL. Check DATABASE_URL and the network.")
        return FAILED
    raise error


def _exit_on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    # An exception, so that context managers stop child processes.
    raise SystemExit(128 + number)


def _print_version(requested: bool) -> None:  # noqa: FBT001 - the interface of typer
    if requested:
        from importlib import metadata

        print(f"hexapost {metadata.version('hexapost')}")  # noqa: T201 - the result
        raise Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
