"""The PROXY protocol: the header, version 1 or 2, that a proxy sends before the client's bytes.

The header is read from trusted proxies only (`tickwire.server.edge.trusted_proxies`), which the owner of a connection
decides. Pure. Format: haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tickwire.server.edge.trusted_proxies import unmap

V1_BYTES_MAX = 107  # with the CRLF
# The bytes after the fixed part. Addresses take up to 216; proxies add TLVs, usually of a few dozen bytes.
V2_LENGTH_MAX = 512
_V1_BEGINNINGS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r\n")
_V1_IPV4 = re.compile(rb"[0-9.]{0,15}")
_V1_IPV6 = re.compile(rb"[0-9A-Fa-f:.]{0,45}")
_V1_PORT = re.compile(rb"(?:0|[1-9][0-9]{0,4})?")
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED_BYTES = 16
_V2_LOCAL, _V2_PROXY = 0x20, 0x21  # version and command
_V2_ADDRESS_BYTES = {0: 0, 1: 2 * (4 + 2), 2: 2 * (16 + 2), 3: 2 * 108}  # by family: none, IPv4, IPv6, unix
_V2_TRANSPORT_MAX = 2  # 0 none, 1 stream, 2 datagram


class InvalidProxyHeader(ValueError):
    """The bytes are not the beginning of a PROXY header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A PROXY header.

    Attributes:
        address: the client's address; None if the header has none, and the peer's own address counts.
        size: the size of the header in bytes; the client's bytes follow it.
    """

    address: str | None
    size: int


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header, version 1 or 2, that a proxy sends before the client's bytes.

    Args:
        data: all bytes that were received so far.

    Returns:
        None if the header is not complete yet.

    Raises:
        InvalidProxyHeader: as soon as the bytes cannot become a header.
    """
    if data.startswith(_V2_SIGNATURE):
        return _read_v2(data)
    if _V2_SIGNATURE.startswith(data):
        return None
    return _read_v1(data)


def _read_v1(data: bytes) -> ProxyHeader | None:
    """Read PROXY, family, source, destination and two ports, separated by one space and ended by CRLF."""
    line, end, _ = data[:V1_BYTES_MAX].partition(b"\r\n")
    if not any(
        (line + end).startswith(beginning) or beginning.startswith(line + end) for beginning in _V1_BEGINNINGS
    ):
        raise InvalidProxyHeader("it starts neither with a PROXY line nor with the signature of version 2")
    has_ended = bool(end) or line.endswith(b"\r")
    if not end and len(line) + (1 if has_ended else 2) > V1_BYTES_MAX:
        raise InvalidProxyHeader(f"the PROXY line has more than {V1_BYTES_MAX} bytes")
    address = None
    if line.startswith(_V1_BEGINNINGS[:2]):
        fields = (line if end else line.removesuffix(b"\r")).split(b" ")
        address = _read_v1_fields(fields[1], fields[2:], has_ended=has_ended)
    return ProxyHeader(address, len(line) + len(end)) if end else None


def _read_v1_fields(family: bytes, fields: list[bytes], *, has_ended: bool) -> str | None:
    """Return the source, or None while it may be incomplete. Check each field as far as it was received."""
    address_type, shape = (IPv4Address, _V1_IPV4) if family == b"TCP4" else (IPv6Address, _V1_IPV6)
    shapes = (shape, shape, _V1_PORT, _V1_PORT)
    if len(fields) > len(shapes) or (has_ended and len(fields) < len(shapes)):
        raise InvalidProxyHeader("the PROXY line must have two addresses and two ports")
    if not all(shape.fullmatch(field) for shape, field in zip(shapes, fields, strict=False)):
        raise InvalidProxyHeader("a field of the PROXY line is neither an address nor a port")
    whole = [field.decode("ascii") for field in (fields if has_ended else fields[:-1])]
    try:
        addresses = [address_type(text) for text in whole[:2]]
        ports = [int(text) for text in whole[2:]]
    except ValueError as error:
        raise InvalidProxyHeader(f"a field of the PROXY line is invalid: {error}") from error
    if any(port > 0xFFFF for port in ports):
        raise InvalidProxyHeader("a port of the PROXY line is above 65535")
    return str(unmap(addresses[0])) if addresses else None


def _read_v2(data: bytes) -> ProxyHeader | None:
    """Read offset 0: signature; 12: version and command; 13: family and transport; 14: length; 16: source, ...

    All numbers are big-endian. The length counts the bytes after it: the addresses and the TLVs.
    """
    if len(data) > 12 and data[12] not in (_V2_LOCAL, _V2_PROXY):
        raise InvalidProxyHeader(f"version and command {data[12]:#04x} of the PROXY header are unknown")
    if len(data) <= 13:
        return None
    # The family of a LOCAL header is ignored, and so are addresses without a known transport.
    family, transport = (data[13] >> 4, data[13] & 0x0F) if data[12] == _V2_PROXY else (0, 0)
    if family not in _V2_ADDRESS_BYTES or transport > _V2_TRANSPORT_MAX:
        raise InvalidProxyHeader(f"family and transport {data[13]:#04x} of the PROXY header are unknown")
    if not transport:
        family = 0
    length = int.from_bytes(data[14:16].ljust(2, b"\0"), "big")  # without its second byte: the least possible value
    if length > V2_LENGTH_MAX:
        raise InvalidProxyHeader(f"the PROXY header has more than {V2_LENGTH_MAX} bytes of addresses")
    if len(data) < _V2_FIXED_BYTES:
        return None
    if length < _V2_ADDRESS_BYTES[family]:
        raise InvalidProxyHeader(f"the PROXY header has {length} bytes, too few for its addresses")
    if len(data) < _V2_FIXED_BYTES + length:
        return None
    address: str | None = None
    if family == 1:
        address = str(IPv4Address(data[16:20]))
    elif family == 2:
        address = str(unmap(IPv6Address(data[16:32])))
    return ProxyHeader(address, _V2_FIXED_BYTES + length)
