"""What every answer to a hostile value has to be like."""

import html
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from domain.text import BLANK
from tests.hostile.corpus import Hostile
from tests.hostile.places import Place
from tests.http.support import RawResponse

SHORTEST_ECHO = 6
"""Octets of a value that does not occur in an answer by chance."""
_PART = 40
_SAID = ("Infinity", "aaaaaaaa", "00000000")
"""What the service says, or may draw, by itself."""
_SANE_NAME = re.compile(rb"[A-Za-z0-9_]{1,64}")
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_ENDS = re.compile(rf"[{BLANK}\t\n\r]*")


def check_answer(place: Place, value: Hostile, answer: RawResponse, vocabulary: str) -> None:
    """Check that the answer is no failure, that a refusal is a problem, and that it does not repeat the value."""
    assert answer.status < 500
    for name, line in answer.headers.items():
        assert "injected" not in name.lower()
        assert not set(line) & {"\r", "\n", "\0", "\x1b"}
    sane_id = place.kind == "header" and place.name == "X-Request-ID" and _SANE_ID.fullmatch(value.octets)
    assert (answer.headers["x-request-id"].encode() == value.octets) is bool(sane_id)
    if place.operation.is_secured and place.name in {"Authorization", "X-API-Key"}:
        assert answer.status == 401
    if answer.status >= 400:
        _check_problem(place, answer)
        if not sane_id:
            _check_echo(place, value, answer, vocabulary)


def _check_problem(place: Place, answer: RawResponse) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    if place.operation.method == "HEAD":
        assert answer.body == b""
        return
    problem = json.loads(answer.body)
    assert problem["status"] == answer.status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["type"].startswith("/problems/")


def _check_echo(place: Place, value: Hostile, answer: RawResponse, vocabulary: str) -> None:
    body = answer.body
    if body and place.kind.startswith("name") and _SANE_NAME.fullmatch(value.octets):
        body = _without_places(body)
    said = body.decode() + "\n".join(f"{name}: {line}" for name, line in answer.headers.items())
    for needle in echoes(value):
        assert needle not in said or needle in vocabulary, f"it repeats {needle!r}"


def _without_places(body: bytes) -> bytes:
    """Return a problem without the names of fields and parameters, which are repeated when they are harmless."""
    problem = json.loads(body)
    errors = [{"code": error["code"], "detail": error["detail"]} for error in problem.pop("errors", [])]
    return json.dumps([problem, errors]).encode()


def echoes(value: Hostile) -> Iterator[str]:
    """Yield the forms in which the value, or the beginning or the end of a long one, could come back."""
    for octets in {value.octets, value.octets[:_PART], value.octets[-_PART:]}:
        text = octets.decode("utf-8", "ignore")
        forms = {text, quote(octets), quote(octets, safe=""), html.escape(text), json.dumps(text)[1:-1]}
        forms |= {json.dumps(text, ensure_ascii=False)[1:-1], octets.decode("latin-1"), repr(octets)[2:-1]}
        yield from (form for form in forms if len(form) >= SHORTEST_ECHO and not form.startswith(_SAID))


def check_accepted(place: Place, value: Hostile, entity: dict[str, Any]) -> None:
    """Check that a field was stored as the value says, after the cleaning that is documented."""
    given, stored = json.loads(value.fragment), entity[place.name]
    if stored == given or not isinstance(given, str):
        assert (stored, type(stored)) == (given, type(given)) or sorted(stored) == sorted(given)
    elif place.operation.fields[place.name].get("format") == "uuid":
        assert UUID(stored) == UUID(given)
    elif place.operation.fields[place.name].get("format") == "date-time":
        assert datetime.fromisoformat(stored) == datetime.fromisoformat(given.upper())
    else:
        lines = given.replace("\r\n", "\n").replace("\r", "\n")
        before, found, after = lines.partition(stored)
        assert found
        assert _ENDS.fullmatch(before)
        assert _ENDS.fullmatch(after)
