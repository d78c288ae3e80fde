"""Texts from known attacks, in groups. They are data and are never executed."""

from adapters.http.pagination import CursorCodec
from adapters.http.routers.users import PATH
from application.api_key_tokens import format_api_key
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY, SECRET

CURSOR = CursorCodec(SECRET).encode(ADMIN_ID, resource=PATH, filters={"email": "nobody@example.org"})
"""A valid cursor of another list."""

PAYLOADS: dict[str, list[str]] = {
    "SQL injection": [
        "' OR '1'='1", "'; DROP TABLE users; --", "1 UNION SELECT NULL,NULL,version()--", "admin'/*", "' OR 1=1#",
        "1; SELECT pg_sleep(10)--", "$$; DELETE FROM posts; $$", "\\'; COPY users TO PROGRAM 'id'; --", "%(secret)s",
        "$1::text", ":email_1", 'users"; --', "E'\\x27'", "1e0or(1)=(1)", "' || pg_read_file('/etc/passwd') || '",
    ],
    "NoSQL, LDAP and XPath injection": [
        '{"$gt": ""}', '{"$where": "sleep(1000)"}', "[$ne]=1", "*)(uid=*))(|(uid=*", "' or count(//user)=1 or '",
        "admin*)((|userPassword=*)", "true, $where: '1 == 1'",
    ],
    "shell injection": [
        "; cat /etc/passwd", "| id", "`id`x12345", "$(sleep 10)", "& ping -c 10 127.0.0.1 &", "\nid\n/bin/sh",
        "${IFS}cat${IFS}/etc/hosts", "() { :;}; echo vulnerable", "--output=/tmp/hostile", "~root/.ssh/id_rsa",
    ],
    "path traversal": [
        "../../../../etc/passwd", "..\\..\\..\\windows\\win.ini", "....//....//etc/passwd", "%2e%2e%2f%2e%2e%2fetc",
        "..%252f..%252fetc%252fpasswd", "/etc/passwd%00.json", "file:///etc/passwd", "\\\\host\\share\\file",
        "..;/manager/html", "/proc/self/environ", ".git/config", "....", "C:\\boot.ini", "//example.org/%2f..",
    ],
    "template injection": [
        "{{7*191}}", "${7*191}", "#{7*191}", "<%= 7*191 %>", "{{config.__class__.__init__.__globals__}}",
        "${jndi:ldap://127.0.0.1/a}", "{%import os%}{{os.popen('id')}}", "*{T(java.lang.Runtime)}", "@(7*191)@",
        "{{constructor.constructor('return 1')()}}", "[[${7*191}]]",
    ],
    "header injection and response splitting": [
        "a\r\nX-Injected: 1", "a\nX-Injected: 1", "a\rX-Injected: 1", "%0d%0aX-Injected:%201",
        "a\r\n\r\n<html>injected</html>", "a\u560d\u560aX-Injected: 1", "HTTP/1.1 200 OK\r\nX-Injected: 1",
        "\r\nSet-Cookie: injected=1", "gzip, chunked\r\n\r\n0",
    ],
    "log forging and terminal escapes": [
        'x\n{"event": "forged", "level": "error"}', "\x1b[2J\x1b[31mforged", "\x1b]0;forged\x07", "\x9b31mforged",
        "\x1bPforged\x1b\\", "x\u2028forged\u2029line", "\x08\x08\x08\x08forged", "x\r[info] forged",
    ],
    "cross-site scripting": [
        "<script>alert(191)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(191)",
        "<svg/onload=alert`1`>",
        "'-alert(1)-'", "</title><script>//", "<iframe srcdoc='&lt;script&gt;'>", "&lt;script&gt;alert&lt;/script&gt;",
        "data:text/html;base64,PHNjcmlwdD4=", '<a href="vbscript:x">', "{{'a'.constructor.prototype}}",
        "<!--#exec cmd=id-->",
    ],
    "XML entities": [
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<!DOCTYPE lolz [<!ENTITY l "lol"><!ENTITY m "' + "&l;" * 10 + '">]><a>&m;</a>',
        "<xi:include href='file:///etc/passwd'/>", "<![CDATA[forged]]>", "&#x41;&#66;&bogus;",
    ],
    "unsafe deserialization": [
        "cos\nsystem\n(S'id'\ntR.", "!!python/object/apply:os.system ['id']", "rO0ABXNyABFqYXZhLnV0aWwu",
        "gASVHgAAAAAAAACM",
        'O:8:"stdClass":1:{s:1:"a";i:1;}', "--- !ruby/object:Gem::Requirement", "&a [*a,*a,*a]",
        "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]", "_$$ND_FUNC$$_function(){}()", "BAhbBjoGYQ==",
    ],
    "format strings": ["%s%s%s%s%n", "%x%x%x%x", "{0.__class__.__mro__}", "{request_id}", "%(asctime)s", "%1$*1$d",
        "{:>999999999}"],
    "special attribute names": ["__proto__", "constructor", "prototype", "__class__", "toString",
        "model_config"],
    "words with a special value": ["null", "undefined", "None", "true", "FALSE", "nil", "NaN", "(null)",
        "[object Object]", "yes", "0"],
    "control characters": ["\0", "a\0b.example", "\x01\x02\x03abc", "tab\there", "\x7fdelete", "\x80\x85\x9fnext",
        "\x0b\x0cfeeds"],
    "blanks": ["", " ", "\t\n", "\u00a0", "\u2003\u3000", "\u200b\u200c\u200d\u2060", "\u3164", "\u2800", "\ufeff",
        " ends cut "],
    "bidirectional controls": ["\u202egnp.exe", "a\u202a\u202b\u202c\u202d\u202eb", "\u2066\u2067\u2068\u2069abc",
        "\u061cab\u200fcd\u200e", "\u202d"],
    "noncharacters and private use": ["\ufffe\uffffabc", "\U0001fffe\U0010ffff", "\ue000private",
        "\U000e0001\U000e0041tag", "\u0378abc"],
    "combining marks": ["Z" + "\u0351\u0363\u0317" * 60, "e" + "\u0301" * 190, "\u0e47" * 199, "\u0489" * 50 + "x"],
    "joined sequences": [
        "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f1e9\U0001f1ea" * 20,
        "\U0001f469\u200d" * 90,
        "\U0001f44d\U0001f3ff\ufe0f", "1\ufe0f\u20e3" * 3,
    ],
    "confusables": ["\u0430dmin@example.org", "pay\u0440al", "\uff41\uff44\uff4d\uff49\uff4e", "\u212aelvin",
        "\u0131I\u0130i", "\ufb03", "rn\u2044m"],
    "growth under normalization": ["\ufdfa" * 18, "\ufdfa" * 200, "\ufdfa@example.org", "\U0001d163" * 60,
        "\u0390\u1f82" * 40, "\ufb2c" * 21 + "@a.example"],
    "length limits": [
        *(character * length for length in (100, 101, 200, 201, 2000, 2001) for character in ("a", "\U0001f989")),
        "k" * 255, "k" * 256, "t" * 1001, "r" * 128, "r" * 129, "x" * 20_000, "a" * 64 + "@example.org",
        "a" * 65 + "@example.org", "a@" + "b" * 63 + ".org", "a@" + "b" * 64 + ".org", "a@" + "b." * 124 + "org",
    ],
    "malformed UUIDs": [
        NOBODY[:-1], NOBODY + "0", NOBODY.replace("-", ""), "{" + NOBODY + "}", "urn:uuid:" + NOBODY,
        NOBODY[:-1] + "g", " " + NOBODY,
        NOBODY.replace("-", "\u2010"), NOBODY + "\n", "\uff10" + NOBODY[1:], "0198a3c46-f2b-7d31-a6f0-000000000000",
        NOBODY + "'--",
        "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", NOBODY.upper(), NOBODY + "\0",
    ],
    "malformed times": [
        "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00Z",
        "2099-01-01",
        "2099-01-01T00:00:00", "2099-01-01T24:00:00Z", "2099-12-31T23:59:60Z", "2099-01-01T00:00:00+99:99",
        "20990101T000000Z",
        "2099-01-01T00:00:00.1234567Z", "0001-01-01T00:00:00+23:59", "\u0662\u0660\u0669\u0669-01-01T00:00:00Z",
        "infinity", "epoch",
        "2099-W01-1T00:00:00Z", "2099-01-01t00:00:00z", "4096-01-01T00:00:00-00:00",
    ],
    "malformed e-mail addresses": [
        "a@b", "@example.org", "a@@example.org", "Ada <ada@b.example>", '"a b"@example.org', "a@[127.0.0.1]",
        "a@example.org\n", "a..b@example.org",
        ".a@example.org", "a@-b.example", "a@xn--.example", "a@b.example,c@d.example", "mailto:a@b.example",
        "a@b.example?cc=c@d.example",
        "a@ex\u00adample.org", "a@1.2.3.4", "a@\u0378.example", "\u0130@\u00df.example", "a@b.example\0",
        "o'hara+x%y{}|@b.example",
    ],
    "malformed cursors": [
        CURSOR, CURSOR[:-1], CURSOR + "A", CURSOR[:-1] + "=", "A" * 44, CURSOR.swapcase(), "AQ" + "A" * 42, "=" * 44,
        CURSOR[::-1],
        "AQ" + "_-" * 21, CURSOR.replace("A", "\uff21", 1), CURSOR + "\n",
    ],
    "entity tags": [
        '"1"', 'W/"1"', "*", '"1", "2"', ",,,", '"1', "1", "W/1", 'w/"1"', '"1" "2"', "**", '*, "1"',
        '"' + "9" * 400 + '"', '"\\"1"',
        ", ".join(['"9"'] * 200), '"1";q=1', '"\u0661"', "'1'", '""', '"-1"', '"01"', '"99999999999"', '"2147483648"',
    ],
    "malformed API keys": [
        ADMIN_KEY[:-1],
        ADMIN_KEY[:-1] + "!", ADMIN_KEY.upper(), format_api_key(ADMIN_ID, "1" * 32), ADMIN_KEY.replace("_",
        "-"), "Bearer",
        "Bearer " + format_api_key(ADMIN_ID, "2" * 32), "Basic YWRtaW46YWRtaW4=", "Bearer a, Bearer b",
        "Bearer\t" + ADMIN_KEY, "bearer  null",
        ADMIN_KEY + "\0", "Bearer " + ADMIN_KEY + " ", "Bearer eyJhbGciOiJub25lIn0.e30.",
        "hexa_" + "0" * 32 + "_" + "0" * 38, "Token " + ADMIN_KEY,
    ],
    "media types and other header values": [
        "application/json; charset=utf-16", "application/json;boundary=x", "text/html",
        "application/x-www-form-urlencoded", "multipart/form-data",
        "application/json, text/html", "*/*;q=9", "gzip", "br, gzip", "application/xml", "example.org:99999",
        "evil.example@127.0.0.1", "100-continue",
        "bytes=0-18446744073709551615", "application/json; charset=utf-8; charset=utf-7", "identity;q=0",
    ],
    "structured header values": ['"unclosed key', 'a"b"c', "back\\slash", '"\\""', "two words", "key;param=1",
        ":cGlja2xl:", "k\u00e9y"],
}  # fmt: skip
