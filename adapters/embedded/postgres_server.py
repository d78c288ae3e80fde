"""The daemon: a background process that runs the server of one directory until the last client has ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.os_user import OsUser, child_options, choose_os_user, chown_directory, kill_orphans
from adapters.embedded.paths import PORT, EmbeddedPostgresError, Paths, create_socket_directory, lock, opened

SUPERUSER = "hexapost"
DATABASE = "hexapost"
BUILTIN_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # sorts the same on every system
BUILTIN_LOCALE_SINCE = 17
START_TIMEOUT_SECONDS = 120
READY_POLL_SECONDS, STOP_POLL_SECONDS = 0.01, 0.1
DEFAULTS = {
    "log_checkpoints": "off",
    # The details of an error and its statement can contain personal data.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
STOP_STEPS = ((signal.SIGINT, 15), (signal.SIGQUIT, 8), (signal.SIGKILL, 8))
"""The signals of a fast shutdown, an immediate one and a kill, and the seconds to wait after each of them."""


def main(directory: str, programs: str, version: str, settings: str) -> None:
    """Run the daemon in the background, where init reaps it."""
    if os.fork() != 0:
        os._exit(0)
    try:
        run(Paths(Path(directory)), PostgresInstallation(Path(programs), version), json.loads(settings))
    except EmbeddedPostgresError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(str(EmbeddedPostgresError(f"PostgreSQL cannot use the directory {directory}: {error.strerror}.")))


def run(paths: Paths, binaries: PostgresInstallation, settings: Mapping[str, str]) -> None:
    """Run the server until it ends, SIGTERM arrives, or no client holds the users lock.

    The first line of the daemon's lock file is the process ID, and the second one the host of the ready server.
    """
    os.chdir("/")
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    daemon_lock = sys.stdin.fileno()
    os.write(daemon_lock, f"{os.getpid()}\n".encode())
    os_user = choose_os_user(paths.directory, binaries.directory / "postgres")
    chown_directory(paths, os_user)
    sockets = create_socket_directory(os.fstat(daemon_lock), uid=os_user.uid, gid=os_user.gid)
    try:
        with (
            opened(paths.users_lock) as users_lock,
            running_server(paths, binaries, os_user, sockets, settings) as postmaster,
        ):
            os.write(daemon_lock, os.fsencode(f"{sockets}\n"))
            null = os.open(os.devnull, os.O_WRONLY)
            for descriptor in (1, 2):  # the client waits for the end of the output
                os.dup2(null, descriptor)
            try:
                while postmaster.poll() is None and not lock(users_lock):
                    time.sleep(STOP_POLL_SECONDS)
            finally:
                os.ftruncate(daemon_lock, 0)
    finally:
        kill_orphans()
        shutil.rmtree(sockets, ignore_errors=True)


def create_cluster(
    paths: Paths, binaries: PostgresInstallation, os_user: OsUser, *, log: int, lock: int, durable: bool
) -> None:
    """Create a cluster with the database in a temporary directory, and rename that to its final path.

    The programs inherit the descriptor of the server's lock, so that a concurrent start waits for them.
    Raises EmbeddedPostgresError if one of them fails.
    """
    shutil.rmtree(paths.unfinished_data, ignore_errors=True)
    child = child_options(os_user=os_user, log=log, lock=lock, death_signal=signal.SIGKILL)

    def run(program: str, *arguments: str, statement: str = "") -> None:
        command: list[str | Path] = [binaries.directory / program, *arguments]
        try:
            subprocess.run(command, input=statement.encode(), timeout=START_TIMEOUT_SECONDS, check=True, **child)  # noqa: S603
        except subprocess.SubprocessError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL could not create a cluster in {paths.directory}: {paths.failure()}"
            ) from error

    data = os.fspath(paths.unfinished_data)
    locale = BUILTIN_LOCALE if binaries.major >= BUILTIN_LOCALE_SINCE else ()
    options = ("--no-sync", "--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", *locale)
    run("initdb", "-D", data, *options)
    single = ("--single", "-D", data, "-c", "fsync=off", "-c", "exit_on_error=on", "postgres")
    run("postgres", *single, statement=f"CREATE DATABASE {DATABASE}\n")
    if durable:
        run("initdb", "-D", data, "--sync-only")
    paths.unfinished_data.rename(paths.data)
    directory = os.open(paths.directory, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


@contextmanager
def running_server(
    paths: Paths, binaries: PostgresInstallation, os_user: OsUser, sockets: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Create the cluster if necessary, run the server during the block, and yield the postmaster.

    Raises EmbeddedPostgresError with the error in the log if the server does not start.
    """
    data = paths.data
    if paths.log.exists():
        paths.log.replace(paths.directory / "postgres.log.1")
    with opened(paths.server_lock) as server_lock, opened(paths.log, os.O_WRONLY | os.O_APPEND) as log:
        os.fchown(log, os_user.uid, os_user.gid)
        _acquire_server_lock(server_lock, data)
        if not os.path.lexists(data):
            durable = settings.get("fsync", "on") == "on"
            create_cluster(paths, binaries, os_user, log=log, lock=server_lock, durable=durable)
        version = (data / "PG_VERSION").read_text().strip() if (data / "PG_VERSION").is_file() else "unknown"
        if version != str(binaries.major):
            raise EmbeddedPostgresError(
                f"{data} has a cluster of PostgreSQL version {version}, but PostgreSQL {binaries.version} was found. "
                f"Install the other version, or transfer the data with pg_upgrade, or move {data} away."
            )
        if pid := _find_postmaster(data):
            raise EmbeddedPostgresError(f"Another PostgreSQL (process {pid}) already runs on {data}. Stop it first.")
        (data / "postmaster.pid").unlink(missing_ok=True)
        options = child_options(os_user=os_user, log=log, lock=server_lock, death_signal=signal.SIGQUIT)
        fixed = {"listen_addresses": "", "port": str(PORT), "unix_socket_directories": f'"{sockets}"'}
        parameters = [f"--{name}={value}" for name, value in (DEFAULTS | dict(settings) | fixed).items()]
        command: list[str | Path] = [binaries.directory / "postgres", "-D", data, *parameters]
        postmaster = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)  # noqa: S603
    try:
        # The server writes its status to postmaster.pid. Failed connections would fill the log.
        pid_file, deadline = data / "postmaster.pid", time.monotonic() + START_TIMEOUT_SECONDS
        while not (pid_file.exists() and pid_file.read_bytes().rstrip().endswith(b"ready")):
            if postmaster.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL did not start on {data}: {paths.failure()}")
            time.sleep(READY_POLL_SECONDS)
        yield postmaster
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for number, seconds in STOP_STEPS:
            postmaster.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                postmaster.wait(seconds)
                break


def _acquire_server_lock(server_lock: int, data: Path) -> None:
    """Wait for the end of all processes of an earlier server.

    Stop a server whose daemon was killed, because only Linux stops it automatically.
    Raises EmbeddedPostgresError if it does not end.
    """
    if lock(server_lock, seconds=1):
        return
    for number, seconds in STOP_STEPS:
        if pid := _find_postmaster(data):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if lock(server_lock, seconds=seconds):
            return
    raise EmbeddedPostgresError(f"Processes of an earlier PostgreSQL still use {data}. End them first.")


def _find_postmaster(data: Path) -> int | None:
    """Return the process ID in postmaster.pid if that process is a server on `data`."""
    try:
        pid = int((data / "postmaster.pid").read_bytes().split(b"\n", 1)[0])
        if sys.platform == "linux":
            return pid if Path(f"/proc/{pid}/cwd").samefile(data) else None
    except (OSError, ValueError):
        return None
    ps = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    command = subprocess.run(ps, capture_output=True, check=False).stdout  # noqa: S603
    return pid if b"postgres" in command and os.fsencode(data.resolve()) in command else None
