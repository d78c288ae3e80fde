"""The container image behind nginx: two replicas without root and with a read-only root file system."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_hex

import pytest
import yaml

from adapters.settings import Settings
from tests.cli.support import PATIENCE, wait_until
from tests.deploy.checkouts import ROOT
from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import LoadJob
from tests.drills.load.load_runner import ENDLESS, RunningLoad, running_load
from tests.drills.load.workload import insert_seed_data

COMPOSE = ROOT / "deploy/compose"
SERVICES = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
BASES = {"BUILD_BASE": "python:3.13", "BASE": "python:3.13-slim"}
DEFAULTS = Settings()
SCOPES = ("users:read", "users:write", "posts:read", "posts:write")
MAX_BYTES = 120_000_000
"""The size of the image beyond its base."""
BUILD_SECONDS = 900

pytestmark = [pytest.mark.drill, pytest.mark.timeout(2 * BUILD_SECONDS)]


def docker(*arguments: str) -> str:
    """Run docker and return its standard output. Fail if it does not exit with 0."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603, S607
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.strip()


def is_available(*arguments: str) -> bool:
    """Return whether a command of docker succeeds."""
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0  # noqa: S603, S607


@pytest.fixture(scope="module")
def image() -> str:
    """Build the image from the bases in the environment."""
    if not shutil.which("docker") or not is_available("info"):
        pytest.skip("Docker is not available")
    bases = [os.environ.get(name, base) for name, base in BASES.items()]
    for name in [*bases, "postgres:18", SERVICES["proxy"]["image"]]:
        if not is_available("image", "inspect", name) and not is_available("pull", name):
            pytest.skip(f"the image {name} is not available")
    subprocess.run(["make", "image"], cwd=ROOT, check=True, timeout=BUILD_SECONDS)  # noqa: S607
    return "hexapost"


class Deployment:
    """Containers in a network, which exist until the end of the test."""

    def __init__(self, image: str, directory: Path) -> None:
        self.name = f"hexapost-test-{token_hex(4)}"
        self._image = image
        shutil.copy(COMPOSE / "create-secrets.sh", directory)
        subprocess.run(["sh", "create-secrets.sh"], cwd=directory, check=True)  # noqa: S607
        self.secrets = directory / "secrets"

    def run(self, name: str, image: str, *command: str, options: Sequence[str] = ()) -> None:
        """Start a container with this name in the network."""
        label = ["--label", self.name, "--name", f"{self.name}-{name}", "--network", self.name]
        docker("run", "--detach", *label, "--network-alias", name, *options, image, *command)

    def run_hexapost(self, name: str, *command: str) -> None:
        """Start a container of the image, with the options of compose.yaml."""
        secrets = [f"--volume={self.secrets / file}:/run/secrets/{file}:ro" for file in SERVICES["migrate"]["secrets"]]
        environment = ["--env=HEXAPOST_SECRETS_DIRECTORY=/run/secrets", "--env=HEXAPOST_RATE_LIMIT=none"]
        options = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--network-alias=hexapost"]
        self.run(name, self._image, *command, options=[*options, *secrets, *environment])

    def execute(self, name: str, *command: str) -> str:
        """Run a command in a container and return its output."""
        return docker("exec", f"{self.name}-{name}", *command)

    def wait_until_healthy(self, name: str) -> None:
        """Wait for the health check of a container."""
        state = ["inspect", "--format", "{{.State.Health.Status}}", f"{self.name}-{name}"]
        wait_until(lambda: docker(*state) == "healthy")

    def stop(self, name: str) -> None:
        """Stop a container, require the exit status 0, and remove it."""
        docker("stop", "--time", "60", f"{self.name}-{name}")
        self.require_success(name)
        docker("rm", f"{self.name}-{name}")

    def require_success(self, name: str) -> None:
        """Wait for the end of a container, and require the exit status 0."""
        container = f"{self.name}-{name}"
        assert docker("wait", container) == "0", self.logs(name)

    def logs(self, name: str) -> str:
        """Return the output of a container."""
        command = ["docker", "logs", f"{self.name}-{name}"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout  # noqa: S603


@contextmanager
def deployed(image: str, directory: Path) -> Iterator[Deployment]:
    """Run PostgreSQL, the migration, two replicas and the proxy of compose.yaml."""
    deployment = Deployment(image, directory)
    docker("network", "create", deployment.name)
    try:
        password = (deployment.secrets / "hexapost_password").read_text()
        account = ["--env", "POSTGRES_USER=hexapost", "--env", f"POSTGRES_PASSWORD={password}"]
        deployment.run("postgres", "postgres:18", options=account)
        wait_until(lambda: is_available("exec", f"{deployment.name}-postgres", "pg_isready", "-h", "127.0.0.1"))
        deployment.run_hexapost("migrate", "migrate")
        deployment.require_success("migrate")
        for name in ("hexapost-1", "hexapost-2"):
            deployment.run_hexapost(name)
            deployment.wait_until_healthy(name)
        proxy = SERVICES["proxy"]
        mounts = [part for path in proxy["tmpfs"] for part in ("--tmpfs", path)]
        config = ["--volume", f"{COMPOSE}/nginx.conf:/etc/nginx/nginx.conf:ro", "--publish", "127.0.0.1::8080"]
        limits = ["--read-only", "--user", proxy["user"], "--cap-drop", "ALL"]
        deployment.run("proxy", proxy["image"], options=[*limits, *mounts, *config])
        yield deployment
    finally:
        containers = docker("ps", "--all", "--quiet", "--filter", f"label={deployment.name}").split()
        if containers:
            docker("rm", "--force", "--volumes", *containers)
        docker("network", "rm", deployment.name)


def post(host: str, port: int, key: str, body: bytes) -> tuple[int, str | None]:
    """Send a body, and return the status and the content type of the response."""
    with closing(HTTPConnection(host, port, timeout=PATIENCE)) as connection:
        connection.request("POST", "/api/v1/users", body, {"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, response.getheader("content-type")


def wait_for_attempts(load: RunningLoad, count: int) -> None:
    """Wait for this number of further attempts."""
    before = len(load.attempts)
    wait_until(lambda: len(load.attempts) >= before + count)


def test_image_is_small_and_has_labels(image: str) -> None:
    (built,) = json.loads(docker("image", "inspect", image))
    (base,) = json.loads(docker("image", "inspect", os.environ.get("BASE", BASES["BASE"])))
    assert built["Size"] - base["Size"] <= MAX_BYTES
    assert built["Config"]["User"] == "10001:10001"
    version = docker("run", "--rm", image, "--version").removeprefix("hexapost ")
    assert built["Config"]["Labels"]["org.opencontainers.image.version"] == version


def test_rolling_update_of_containers_fails_no_request(image: str, tmp_path: Path) -> None:
    with deployed(image, tmp_path) as deployment:
        scopes = [part for scope in SCOPES for part in ("--scope", scope)]
        key = deployment.execute("hexapost-1", "hexapost", "keys", "create", "--name", "test", *scopes)
        host, port = docker("port", f"{deployment.name}-proxy", "8080").splitlines()[0].split(":")
        job = LoadJob(host=host, port=int(port), clients=8, operations=(), headers={"Authorization": f"Bearer {key}"})
        for size in (DEFAULTS.max_body_bytes + 1, 2**21):  # rejected by the service, and by nginx
            assert post(host, int(port), key, b" " * size) == (413, "application/problem+json")
        seeds = insert_seed_data(job)
        load = replace(job, operations=seeds.weighted_mix(), rate=40.0, seconds=ENDLESS)
        with running_load(load) as running:
            for name in ("hexapost-1", "hexapost-2"):
                deployment.stop(name)
                wait_for_attempts(running, 20)
                deployment.run_hexapost(name)
                deployment.wait_until_healthy(name)
            attempts = running.finish()
    assert Counter(attempt.outcome for attempt in attempts) == {ACKNOWLEDGED: len(attempts)}
