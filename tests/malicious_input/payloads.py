"""Texts from known attacks, in groups. They are data and are never executed.

Values that are malformed in the format of one field or header are in the tests of that format in `tests/http`.
"""

PAYLOADS: dict[str, list[str]] = {
    "SQL injection": [
        "' OR '1'='1", "'; DROP TABLE users; --", "1 UNION SELECT NULL,NULL,version()--", "admin'/*", "' OR 1=1#",
        "1; SELECT pg_sleep(10)--", "$$; DELETE FROM posts; $$", "\\'; COPY users TO PROGRAM 'id'; --", "%(secret)s",
        "$1::text", ":email_1", 'users"; --', "E'\\x27'", "1e0or(1)=(1)", "' || pg_read_file('/etc/passwd') || '",
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
}  # fmt: skip
