"""A source tree of Hexapost on a database, set up with the commands of that tree.

Modules, tables and settings may have other names in another revision. So the tree itself migrates the database and
creates the API key, and it gets no settings that it can do without.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.testing.template_databases import libpq_url
from tests.benchmarks.database import BenchDatabase
from tests.benchmarks.errors import BenchmarkError
from tests.cli.support import rendered

LAUNCH = Path(__file__).with_name("launch.py")
SCOPES = ("users:read", "users:write", "posts:read", "posts:write")
POOL_SIZE = 10
COMMAND_SECONDS = 120.0
_MISUSED = 2

RATE_LIMIT = {"HEXAPOST_RATE_LIMIT": "900000000/minute"}
"""So high that it rejects no request. Requests are still counted, as in production."""


@dataclass(slots=True, kw_only=True)
class Deployment:
    """A source tree, its database, and the directory in which it runs and keeps its state."""

    root: Path
    name: str
    database: BenchDatabase
    directory: Path
    settings: dict[str, str] = field(default_factory=RATE_LIMIT.copy)
    api_key: str = ""

    @property
    def entry_point(self) -> str:
        """The function behind `hexapost`, as MODULE:FUNCTION."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["scripts"]["hexapost"])

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Accept": "application/json", "Authorization": f"Bearer {self.api_key}"}

    def prepare(self) -> None:
        """Migrate the database and create an API key. Raises BenchmarkError if a command fails."""
        self.directory.mkdir(exist_ok=True)
        self._run("migrate")
        scopes = [argument for scope in SCOPES for argument in ("--scope", scope)]
        self.api_key = self._run("keys", "create", "--name", "benchmark", *scopes).strip()

    def environment(self) -> Mapping[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HEXAPOST_")}
        return inherited | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self.root), inherited.get("PYTHONPATH")])),
            "DATABASE_URL": rendered(self.database.url),
            "DATABASE_DSN": libpq_url(self.database.url),
            "POOL_SIZE": str(POOL_SIZE),
            **self.settings,
        }

    def _run(self, *arguments: str) -> str:
        """Return the output of a command. A setting that the tree rejects by name is left out from then on."""
        done = subprocess.run(  # noqa: S603 - the command of the tree
            launch(self.entry_point, *arguments),
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            check=False,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        rejected = [name for name in self.settings if name in done.stderr]
        if done.returncode == _MISUSED and rejected:
            for name in rejected:
                del self.settings[name]
            return self._run(*arguments)
        if done.returncode:
            raise BenchmarkError(f"{self.name}: hexapost {arguments[0]} failed:\n{last_lines(done.stderr)}")
        return done.stdout


def launch(*arguments: str) -> list[str]:
    """Return the command that runs a function, MODULE:FUNCTION, with these arguments."""
    return [sys.executable, "-P", str(LAUNCH), *arguments]


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-20:])
