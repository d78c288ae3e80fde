"""Tests for the peers: installation into the cache, missing tools, and pinned versions. They install no package."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import peers
from tests.benchmarks.peers import PEERS, Peer, PeerUnavailableError, install_peers
from tests.benchmarks.servers import SERVICES

COUNT = "open('count', 'a').write('x')"
PEER = Peer(
    key="x",
    name="planted peer",
    directory="fastify",
    tools={},
    install=((sys.executable, "-c", COUNT),),
    version=(sys.executable, "--version"),
    program=("server.js", "{directory}/app", "{port}"),
)


def test_peer_is_installed_once(tmp_path: Path) -> None:
    first, second = PEER.installed(tmp_path), PEER.installed(tmp_path)
    directory = tmp_path / "fastify"
    assert first == second
    assert first.command == (str(directory / "server.js"), f"{directory}/app", "{port}")
    assert (directory / "count").read_text() == "x"


def test_peer_is_installed_again_after_a_change(tmp_path: Path) -> None:
    PEER.installed(tmp_path)
    replace(PEER, install=((sys.executable, "-c", f"{COUNT}; {COUNT}"),)).installed(tmp_path)
    assert (tmp_path / "fastify" / "count").read_text() == "xx"


def test_peer_reports_the_output_of_a_failed_installation(tmp_path: Path) -> None:
    broken = replace(PEER, install=((sys.executable, "-c", "raise SystemExit('no such package')"),))
    for _ in range(2):
        with pytest.raises(PeerUnavailableError, match=r"failed:\nno such package$"):
            broken.installed(tmp_path)


def test_peer_without_its_tools_is_reported_by_name(tmp_path: Path) -> None:
    said: list[str] = []
    missing = replace(PEER, name="missing peer", tools={"no-such-program": "package-a", "/no/such/path": "package-b"})
    services, notes = install_peers(said.append, [missing, PEER], tmp_path)
    assert [service.name for service in services] == ["planted peer"]
    assert notes["missing peer"] == "not measured: install package-a and package-b"
    assert "missing peer is not measured: install package-a and package-b" in said
    assert re.match(r"Python \d.*, fastify \d.*, pg \d", notes["planted peer"])


@pytest.mark.parametrize("peer", PEERS, ids=[peer.directory for peer in PEERS])
def test_peer_pins_the_versions_of_its_packages(peer: Peer) -> None:
    source = Path(peers.__file__).with_name(peer.directory)
    pinned = [path.read_text() for path in source.glob("requirements.txt")]
    versions = [line.partition("==")[2] for text in pinned for line in text.splitlines()]
    for path in source.glob("package.json"):
        package = json.loads(path.read_text())
        versions += [*package["dependencies"].values(), *package.get("devDependencies", {}).values()]
    assert versions or peer.directory == "go"
    assert [version for version in versions if not re.fullmatch(r"\d+(\.\d+)+", version)] == []


def test_services_and_peers_have_different_keys() -> None:
    keys = [item.key for item in (*SERVICES, *PEERS)]
    assert len(set(keys)) == len(keys)
