"""Services that a user would pick instead of Hexapost. Each one is a small program in the usual style of its framework.

They are installed into a cache, apart from the environment of the project: a virtual environment, npm packages, or a
compiled program. A peer writes one or two log lines per request. It has no key check, rate limit, metrics or deadline.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.deployment import last_lines
from tests.benchmarks.servers import ROOT, UVICORN_OPTIONS, Service

CACHE = ROOT / ".hexapost" / "peers"
INSTALL_SECONDS = 600.0
_NPM = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
_VENV = (
    (sys.executable, "-m", "venv", "venv"),
    ("venv/bin/python", "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"),
)
_NODE_TOOLS = {"node": "Node.js 20 or newer", "npm": "npm"}


class PeerUnavailableError(Exception):
    """A tool of a peer is missing, or its installation failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer, the tools that its installation needs, and the commands, which run in its directory of the cache.

    A tool is a program or a path, with the name of its package.
    """

    key: str
    name: str
    directory: str
    tools: Mapping[str, str]
    install: tuple[tuple[str, ...], ...]
    version: tuple[str, ...]
    """The command that prints the version of the language."""
    program: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def installed(self, cache: Path = CACHE) -> Service:
        """Install the peer unless it is unchanged, and return its service. Raises PeerUnavailableError."""
        missing = [package for tool, package in self.tools.items() if not (shutil.which(tool) or Path(tool).exists())]
        if missing:
            raise PeerUnavailableError(f"install {' and '.join(missing)}")
        source, target = Path(__file__).with_name(self.directory), cache / self.directory
        stamp, digest = target / ".installed", _digest(source, self.install)
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
            for command in self.install:
                _run(command, target, self.variables)
            stamp.write_text(digest)
        program, *arguments = self.program
        path = shutil.which(program) or str(target / program)
        variables = {**self.variables, "PYTHONPATH": str(target)}
        command = (path, *(argument.format(directory=target, port="{port}") for argument in arguments))
        return Service(key=self.key, name=self.name, command=command, variables=variables)

    def versions(self) -> str:
        """Return the versions of the language and of the pinned packages."""
        source = Path(__file__).with_name(self.directory)
        requirements, packages = source / "requirements.txt", source / "package.json"
        pinned: list[str] = []
        if requirements.exists():
            pinned = requirements.read_text().replace("==", " ").splitlines()
        elif packages.exists():
            pinned = [f"{name} {number}" for name, number in json.loads(packages.read_text())["dependencies"].items()]
        language = subprocess.run(self.version, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603
        return ", ".join([language, *pinned])


PEERS = (
    Peer(
        key="j",
        name="Fastify + pg",
        directory="fastify",
        tools=_NODE_TOOLS,
        version=("node", "--version"),
        install=((*_NPM, "--omit=dev"),),
        program=("node", "{directory}/server.js", "{port}"),
        variables={"NODE_ENV": "production"},
    ),
    Peer(
        key="n",
        name="NestJS (Fastify) + TypeORM",
        directory="nestjs",
        tools=_NODE_TOOLS,
        version=("node", "--version"),
        install=((*_NPM, "--include=dev"), ("node_modules/.bin/tsc", "--project", ".")),
        program=("node", "{directory}/dist/main.js", "{port}"),
        variables={"NODE_ENV": "production"},
    ),
    Peer(
        key="l",
        name="Litestar + advanced-alchemy",
        directory="litestar",
        tools={},
        version=(sys.executable, "--version"),
        install=_VENV,
        program=("venv/bin/python", "-m", "uvicorn", *UVICORN_OPTIONS, "app:app"),
    ),
    Peer(
        key="d",
        name="Django Ninja",
        directory="django_ninja",
        tools={},
        version=(sys.executable, "--version"),
        install=_VENV,
        program=(
            "venv/bin/python",
            *(
                "-m",
                "gunicorn",
                "--bind=127.0.0.1:{port}",
                "--threads=32",  # one per connection of the load: each new one blocks a thread until its first request
                "--keep-alive=75",
                "--access-logfile=-",
            ),
            "app:application",
        ),
    ),
    Peer(
        key="g",
        name="Go net/http + pgx",
        directory="go",
        tools={
            "go": "golang-go",
            "/usr/share/gocode/src/github.com/jackc/pgx/v4": "golang-github-jackc-pgx-v4-dev",
        },
        version=("go", "version"),
        install=(("go", "build", "-o", "server", "main.go"),),
        program=("server", "{port}"),
        variables={"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOMAXPROCS": "1"},
    ),
)


def install_peers(
    report: Callable[[str], None], peers: Sequence[Peer] = PEERS, cache: Path = CACHE
) -> tuple[list[Service], dict[str, str]]:
    """Install the peers. Return their services, and for each peer its versions or the reason why it is missing."""
    services, notes = [], {}
    for peer in peers:
        report(f"installing {peer.name}")
        try:
            services.append(peer.installed(cache))
            notes[peer.name] = peer.versions()
        except PeerUnavailableError as error:
            notes[peer.name] = f"not measured: {error}"
            report(f"{peer.name} is {notes[peer.name]}")
    return services, notes


def _run(command: tuple[str, ...], directory: Path, variables: Mapping[str, str]) -> None:
    program, *arguments = command
    local = directory / program
    done = subprocess.run(  # noqa: S603 - the commands above
        [str(local) if local.exists() else program, *arguments],
        cwd=directory,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=INSTALL_SECONDS,
    )
    if done.returncode:
        raise PeerUnavailableError(f"{program} failed:\n{last_lines(done.stdout + done.stderr)}")


def _digest(source: Path, install: object) -> str:
    """Return a hash of the files and commands."""
    digest = hashlib.sha256(repr(install).encode())
    for path in sorted(file for file in source.iterdir() if file.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
