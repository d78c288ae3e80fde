"""The bounds of requests, as an operator sets them."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg
from sqlalchemy import URL

from tests.cli.support import PATIENCE, Served, a_key, queried, rendered, serving, wait_until
from tests.support.stores import WAITING

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
        "HEXAPOST_HEAD_TIMEOUT_SECONDS": "3",
        "HEXAPOST_BODY_TIMEOUT_SECONDS": "3",
        "HEXAPOST_STATEMENT_TIMEOUT_SECONDS": "3",
        "HEXAPOST_ATTEMPT_TIMEOUT_SECONDS": "60",
    }
    key = f"X-API-Key: {a_key(tmp_path, DATABASE_URL=rendered(scratch))}\r\n"
    with serving(tmp_path, DATABASE_URL=rendered(scratch), **settings) as served:
        last = f"{HEAD}{key}Connection: close\r\n"
        assert " 431 " in _said(served, HEAD + "a: b\r\n" * 10 + "\r\n")
        assert " 431 " in _said(served, f"{HEAD}a: {'b' * 1024}\r\n\r\n")
        assert " 413 " in _said(served, f"{HEAD}Content-Length: 1025\r\n\r\n")
        assert "2 levels" in _said(served, f"{last}Content-Length: 6\r\n\r\n[[[]]]")
        with psycopg.connect(rendered(scratch.set(drivername="postgresql"))) as holder, ThreadPoolExecutor() as threads:
            holder.execute("LOCK TABLE users")
            body = '{"email": "ada@example.org"}'
            texts = ["", HEAD, f"{HEAD}{key}Content-Length: 9\r\n\r\n{{", f"{last}Content-Length: 28\r\n\r\n{body}"]
            nothing, half_a_head, half_a_body, locked = threads.map(partial(_said, served), texts)
        assert nothing == ""
        assert "/problems/request-timeout" in half_a_head
        assert "/problems/request-timeout" in half_a_body
        assert "/problems/overloaded" in locked
        assert served.stop(signal.SIGTERM) == 0
        assert "Traceback" not in served.output


def test_a_request_that_gets_no_answer_in_time(tmp_path: Path, scratch: URL) -> None:
    key = f"X-API-Key: {a_key(tmp_path, DATABASE_URL=rendered(scratch))}\r\n"
    settings = {
        "HEXAPOST_REQUEST_TIMEOUT_SECONDS": "3",
        "HEXAPOST_STATEMENT_TIMEOUT_SECONDS": "60",
        "HEXAPOST_ATTEMPT_TIMEOUT_SECONDS": "60",
    }
    text = f"GET /api/v1/users HTTP/1.1\r\nHost: x\r\n{key}Connection: close\r\n\r\n"
    with serving(tmp_path, DATABASE_URL=rendered(scratch), **settings) as served:
        with (
            psycopg.connect(rendered(scratch.set(drivername="postgresql"))) as holder,
            ThreadPoolExecutor() as threads,
        ):
            holder.execute("LOCK TABLE users")
            asking = threads.submit(_said, served, text)
            wait_until(lambda: queried(scratch, WAITING) == [1])
            answer = asking.result()
            wait_until(lambda: queried(scratch, WAITING) == [0])
        assert "/problems/database-unavailable" in answer
        assert "retry-after: 5" in answer
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
