"""The values to inject, as bytes for paths, queries and headers, and as JSON for bodies."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from tests.malicious_input.payloads import PAYLOADS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Payload:
    """A value; `fragment` is its form as a JSON value, `name` as the name of a JSON member."""

    octets: bytes
    fragment: bytes
    name: bytes

    def __repr__(self) -> str:
        shown = repr(self.octets)
        return shown if len(shown) <= 60 else f"{shown[:57]}… ({len(self.octets)} bytes)"


FRAGMENTS: dict[str, list[str]] = {
    "numbers at the limits of each type": [
        "0", "-0", "-1", "1.0", "1e2", "-0.0", "1e999", "-1e999", "1e-999", "2147483647", "2147483648", "-2147483649",
        "9223372036854775807", "9223372036854775808", "18446744073709551616", "1" + "0" * 400, "9" * 5000, "0.1e308",
    ],
    "malformed numbers": ["NaN", "Infinity", "-Infinity", "01", "+1", "0x10", ".5", "5.", "1_000", "1e", "--1"],
    "other types": ["null", "true", "false", "[]", "{}", '["a"]', '{"a": "b"}', "[null]", "[[]]",
        '["posts:read", "posts:read"]'],
    "wide": ["[" + "0," * 5000 + "0]", "{" + ",".join(f'"a{one}": {one}' for one in range(2000)) + "}"],
    "duplicate and special names": [
        '{"a": 1, "a": 2}', '{"a": 1, "\\u0061": 2}', '{"__proto__": {"is_admin": true}}',
        '{"constructor": {"prototype": {}}}',
        '{"$ref": "#/components"}', '{"": ""}', '{"@type": "java.lang.Runtime"}',
        '{"__class__": "User", "__dict__": {}}',
    ],
    "invalid and unusual escapes": [
        '"\\ud800"', '"\\udfff\\ud800"', '"a\\ud83d"', '"\\u0000"', '"\\u000d\\u000aX-Injected: 1"', '"\\x41"',
        '"\\u12"', '"\\ufffe"',
        '"\\ud83e\\udd89"', '"\\/\\b\\f"', '"\\U0001f989"',
    ],
    "almost JSON": [
        "", "'single'", '"unclosed', "undefined", "{a: 1}", "[1,]", '{"a": 1,}', "/* comment */ 1", "1 // comment",
        "True", "\ufeff{}",
        '"a" "b"', "]", "}", '{"a"}', '"tab\t"', '"line\nbreak"', "while(1);", "{}{}", '\x00"a"', "a=1&b=2",
        "--x\r\n\r\n--x--",
    ],
}  # fmt: skip
"""Fragments of JSON and of malformed JSON for values in bodies."""

OCTETS: dict[str, list[bytes]] = {
    "invalid UTF-8": [
        b"\xff\xfe", b"\xc0\xaf\xc0\xafetc", b"\xc0\x80nul", b"\xe0\x80\xafabc", b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80half", b"\xf4\x90\x80\x80over",
        b"\xf8\x88\x80\x80\x80", b"\x80lonely", b"cut\xe2\x82", b"latin-1 \xe9\xe8", b"\xfc\x80\x80\x80\x80\xaf",
    ],
    "other encodings": ["utf-16".encode("utf-16"), "utf-32".encode("utf-32"), b"+ADw-script+AD4-",
        b"\x1b$B\x24\x22\x1b(B", b"\xff\xfe{\x00}\x00"],
    "files": [b"\x1f\x8b\x08\x00\x00\x00\x00\x00", b"PK\x03\x04zip", b"\x80\x04\x95\x0b\x00.", b"%PDF-1.7\n",
        b"\x89PNG\r\n\x1a\n", b"\x7fELF\x02\x01"],
}  # fmt: skip


def _values() -> Iterator[Payload]:
    for text in _each(PAYLOADS):
        quoted = json.dumps(text).encode()
        yield Payload(text.encode(), quoted, quoted)
    for text in _each(FRAGMENTS):
        yield Payload(text.encode(), text.encode(), json.dumps(text).encode())
    for octets in _each(OCTETS):
        yield Payload(octets, b'"%b"' % octets, b'"%b"' % octets)


def _each(groups: dict[str, list[T]]) -> Iterator[T]:
    for group in groups.values():
        yield from group


CORPUS = tuple(dict.fromkeys(_values()))
