"""HTTP/1.1 on the wire: uvicorn's protocol, made to ignore offers of other protocols.

A client may offer to upgrade with any request, as Java's HttpClient and `curl --http2` do with `Upgrade: h2c`, and a
server that does not know the protocol ignores the offer (RFC 9110 section 7.8). The parser stops after such a request,
and its body and the requests after it would be lost.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PatientProtocol(HttpToolsProtocol):
    """Serves a request that offers an upgrade as if it offered none."""

    _is_offer = False

    def on_headers_complete(self) -> None:
        """Start the request, unless it has to be read again without its offer."""
        self._is_offer = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._is_offer:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless it has to be read again without its offer."""
        if not self._is_offer:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Read what came in; after an offer, read the request and what follows it again."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._is_offer:
                self.transport.close()
                return
            self._is_offer = False
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(head + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name not in {b"upgrade", b"http2-settings"}]
        return b"\r\n".join(lines) + b"\r\n\r\n"
