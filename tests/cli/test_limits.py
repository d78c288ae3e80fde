"""The bounds of requests, as an operator sets them."""

import json
import signal
import socket
from pathlib import Path

import psycopg
from sqlalchemy import URL

from tests.cli.support import PATIENCE, Served, a_key, queried, rendered, serving, wait_until

HEAD = "POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def _connected(served: Served) -> socket.socket:
    host, port = served.base_url().removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def _said(served: Served, text: str) -> str:
    """Return what is answered until the service ends the connection."""
    with _connected(served) as client:
        client.sendall(text.encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def test_each_bound_is_the_one_that_was_set(tmp_path: Path, scratch: URL) -> None:
    settings = {
        "HEXAPOST_MAX_HEADERS": "10",
        "HEXAPOST_MAX_HEADER_BYTES": "1024",
        "HEXAPOST_MAX_BODY_BYTES": "1024",
        "HEXAPOST_MAX_JSON_DEPTH": "2",
        "HEXAPOST_HEAD_TIMEOUT_SECONDS": "0.2",
        "HEXAPOST_BODY_TIMEOUT_SECONDS": "0.2",
        "HEXAPOST_STATEMENT_TIMEOUT_SECONDS": "0.2",
    }
    key = f"X-API-Key: {a_key(tmp_path, DATABASE_URL=rendered(scratch))}\r\n"
    with serving(tmp_path, DATABASE_URL=rendered(scratch), **settings) as served:
        last = f"{HEAD}{key}Connection: close\r\n"
        assert " 431 " in _said(served, HEAD + "a: b\r\n" * 10 + "\r\n")
        assert " 431 " in _said(served, f"{HEAD}a: {'b' * 1024}\r\n\r\n")
        assert " 413 " in _said(served, f"{HEAD}Content-Length: 1025\r\n\r\n")
        assert "2 levels" in _said(served, f"{last}Content-Length: 6\r\n\r\n[[[]]]")
        assert "/problems/request-timeout" in _said(served, HEAD)
        assert "/problems/request-timeout" in _said(served, f"{HEAD}{key}Content-Length: 9\r\n\r\n{{")
        assert _said(served, "") == ""
        with psycopg.connect(rendered(scratch.set(drivername="postgresql"))) as holder:
            holder.execute("LOCK TABLE users")
            body = '{"email": "ada@example.org"}'
            answer = _said(served, f"{last}Content-Length: {len(body)}\r\n\r\n{body}")
            assert "/problems/overloaded" in answer
        assert served.stop(signal.SIGTERM) == 0
        assert "Traceback" not in served.output


def test_a_request_that_gets_no_answer_in_time(tmp_path: Path, scratch: URL) -> None:
    key = f"X-API-Key: {a_key(tmp_path, DATABASE_URL=rendered(scratch))}\r\n"
    with serving(tmp_path, DATABASE_URL=rendered(scratch), HEXAPOST_REQUEST_TIMEOUT_SECONDS="0.2") as served:
        with psycopg.connect(rendered(scratch.set(drivername="postgresql"))) as holder:
            holder.execute("LOCK TABLE users")
            answer = _said(served, f"GET /api/v1/users HTTP/1.1\r\nHost: x\r\n{key}Connection: close\r\n\r\n")
        assert "/problems/database-unavailable" in answer
        assert "retry-after: 5" in answer
        wait_until(
            lambda: queried(scratch, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'relation'") == [0]
        )
        assert served.stop(signal.SIGTERM) == 0


def test_half_a_body_does_not_hold_up_the_end(tmp_path: Path, scratch: URL) -> None:
    key = f"X-API-Key: {a_key(tmp_path, DATABASE_URL=rendered(scratch))}\r\n"
    with (
        serving(tmp_path, DATABASE_URL=rendered(scratch), HEXAPOST_BODY_TIMEOUT_SECONDS="600") as served,
        _connected(served) as client,
    ):
        client.sendall(f"{HEAD}{key}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in client.recv(65536)
        served.process.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        assert served.process.wait(PATIENCE) == 0
        (line,) = [json.loads(line) for line in served.output.splitlines() if line.startswith("{") and '"POST"' in line]
    assert "/problems/request-timeout" in answer
    assert (line["status"], line["route"]) == (408, "/api/v1/users")
    assert "Traceback" not in served.output
