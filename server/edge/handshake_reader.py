"""Collects the HTTP request of a handshake, after the header that a proxy may send first. Pure."""

from __future__ import annotations

from tickwire.server.edge.proxy_protocol import read_proxy_header

REQUEST_BYTES_MAX = 32 * 1024
_REQUEST_END = b"\r\n\r\n"


class HandshakeReader:
    """The first bytes of one connection.

    Args:
        expects_proxy_header: whether the peer is a proxy that sends a PROXY protocol header first.

    Attributes:
        address: the client's address in the proxy's header; empty without one.
        rest: the bytes that follow a complete request.
    """

    __slots__ = ("_data", "_expects_proxy_header", "address", "rest")

    def __init__(self, *, expects_proxy_header: bool) -> None:
        self._expects_proxy_header = expects_proxy_header
        self._data = b""
        self.address = ""
        self.rest = b""

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes; return the request once it is complete, or larger than any valid request.

        Raises:
            InvalidProxyHeader: the header of the proxy is invalid.
        """
        self._data += data
        if self._expects_proxy_header:
            header = read_proxy_header(self._data)
            if header is None:
                return None
            self._expects_proxy_header = False
            self.address = header.address or ""
            self._data = self._data[header.size :]
        end = self._data.find(_REQUEST_END)
        if end < 0 and len(self._data) < REQUEST_BYTES_MAX:
            return None
        end = len(self._data) if end < 0 else end + len(_REQUEST_END)
        request, self.rest, self._data = self._data[:end], self._data[end:], b""
        return request
