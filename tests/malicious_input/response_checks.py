"""Checks of the responses to injected values."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

from domain.text_rules import BLANK_CHARS
from tests.http.support import check_problem
from tests.malicious_input.corpus import Payload
from tests.malicious_input.injection_points import InjectionPoint

MIN_ECHO_LENGTH = 6
"""Shorter values can occur in a response by chance."""
_PART = 40
_SAID = ("Infinity", "aaaaaaaa", "00000000")
"""Texts that occur in responses anyway."""
_SANE_NAME = re.compile(rb"[A-Za-z0-9_]{1,64}")
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_ENDS = re.compile(rf"[{BLANK_CHARS}\t\n\r]*")


def check_answer(place: InjectionPoint, value: Payload, response: httpx.Response, vocabulary: str) -> None:
    """Check that the response is not a 5xx, that an error is a problem, and that it does not echo the value."""
    assert response.status_code < 500
    for name, line in response.headers.items():
        assert "injected" not in name.lower()
        assert not set(line) & {"\r", "\n", "\0", "\x1b"}
    sane_id = place.kind == "header" and place.name == "X-Request-ID" and _SANE_ID.fullmatch(value.octets)
    assert (response.headers["x-request-id"].encode() == value.octets) is bool(sane_id)
    if place.operation.is_secured and place.name in {"Authorization", "X-API-Key"}:
        assert response.status_code == 401
    if response.status_code >= 400:
        _check_problem(place, response)
        if not sane_id:
            _check_echo(place, value, response, vocabulary)


def _check_problem(place: InjectionPoint, response: httpx.Response) -> None:
    if place.operation.method == "HEAD":
        assert response.content == b""
        assert response.headers["content-type"] == "application/problem+json"
    else:
        code = json.loads(response.content)["type"].removeprefix("/problems/")
        check_problem(response, response.status_code, code)


def _check_echo(place: InjectionPoint, value: Payload, response: httpx.Response, vocabulary: str) -> None:
    body = response.content
    if body and place.kind.startswith("name") and _SANE_NAME.fullmatch(value.octets):
        body = _without_places(body)
    said = body.decode() + "\n".join(f"{name}: {line}" for name, line in response.headers.items())
    for needle in echoes(value):
        assert needle not in said or needle in vocabulary, f"the response contains {needle!r}"


def _without_places(body: bytes) -> bytes:
    """Return a problem without names of fields and parameters: a problem may contain harmless names."""
    problem = json.loads(body)
    errors = [{"code": error["code"], "detail": error["detail"]} for error in problem.pop("errors", [])]
    return json.dumps([problem, errors]).encode()


def echoes(value: Payload) -> Iterator[str]:
    """Yield the encodings in which a response could echo the value, or the start or end of a long one."""
    for octets in {value.octets, value.octets[:_PART], value.octets[-_PART:]}:
        text = octets.decode("utf-8", "ignore")
        forms = {text, quote(octets), quote(octets, safe=""), html.escape(text), json.dumps(text)[1:-1]}
        forms |= {json.dumps(text, ensure_ascii=False)[1:-1], octets.decode("latin-1"), repr(octets)[2:-1]}
        yield from (form for form in forms if len(form) >= MIN_ECHO_LENGTH and not form.startswith(_SAID))


def check_accepted(place: InjectionPoint, value: Payload, entity: dict[str, Any]) -> None:
    """Check that a field has the value after the documented normalization."""
    given, stored = json.loads(value.fragment), entity[place.name]
    if stored == given:
        assert type(stored) is type(given)
    else:
        before, found, after = given.replace("\r\n", "\n").replace("\r", "\n").partition(stored)
        assert found
        assert _ENDS.fullmatch(before)
        assert _ENDS.fullmatch(after)
