"""Who the client is when proxies stand between it and us: X-Forwarded-For, and the PROXY protocol's header.

Pure. Nothing that a client writes is believed: a forwarded address counts only if a trusted proxy wrote it, and
a PROXY header has to be asked of trusted peers only, by whoever reads the socket. An IPv4 address that is mapped
into IPv6 (::ffff:10.0.0.1, what a socket for both families shows) is that IPv4 address everywhere in here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FORWARDED_PARTS_MAX = 32
_ADDRESSES_REMEMBERED_MAX = 1024
_MAPPED = IPv6Network("::ffff:0:0/96")
# An address alone, or with the port that some proxies add: 1.2.3.4:5678, [::1]:5678.
_PART = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15}):[0-9]{1,5}|([0-9A-Fa-f:.]{2,45})")


class TrustedProxies:
    """The networks whose word about a client's address is taken.

    Args:
        networks: in CIDR notation, "10.0.0.0/8"; an address alone is a network of one.

    Raises:
        ValueError: one of them is no network; the sentence names it.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [_network(text) for text in networks]
        # A load balancer has a few addresses, and they come again with every connection.
        self._is_trusted = lru_cache(maxsize=_ADDRESSES_REMEMBERED_MAX)(self._look_up)

    def trusts(self, address: str) -> bool:
        """Whether the address is in one of the networks; what is no IP address is not."""
        return self._is_trusted(address)

    def client_address(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The address nearest to us that is no trusted proxy, as far as trusted proxies tell.

        Args:
            peer: the address at the socket's other end.
            forwarded_for: the values of all X-Forwarded-For headers, in the order of the request.

        Returns:
            The peer as it was given, or a forwarded address in its canonical spelling, without a port. The leftmost
            one that was read if all are trusted, or if what stands left of it is no address.
        """
        client = peer
        if not self.trusts(peer):
            return client
        # From the right: each proxy appends whom it heard, so what the client itself wrote is leftmost.
        for part in reversed(",".join(forwarded_for).rsplit(",", FORWARDED_PARTS_MAX)[-FORWARDED_PARTS_MAX:]):
            address = _forwarded(part.strip(" \t"))
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def _look_up(self, text: str) -> bool:
        try:
            address = _unmapped(ip_address(text))
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"must be a list of networks such as 10.0.0.0/8; got {text[:80]!r}") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        ipv4 = network.network_address.ipv4_mapped
        assert ipv4 is not None, "the network is within the mapped ones"
        return IPv4Network((ipv4, network.prefixlen - _MAPPED.prefixlen))
    return network


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _forwarded(part: str) -> Address | None:
    match = _PART.fullmatch(part)
    if match is None:
        return None
    try:
        return _unmapped(ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None


# -- the PROXY protocol: haproxy's doc/proxy-protocol.txt, sections 2.1 and 2.2 ---------------------------------

V1_BYTES_MAX = 107  # with the CRLF
# Of bytes after the fixed part. The addresses take up to 216; proxies add TLVs, of a few dozen bytes as a rule.
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


class BadProxyHeader(ValueError):
    """Bytes that are no PROXY header, however they go on."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a PROXY header says.

    Attributes:
        address: the client's; None if the header names none, and the peer's own counts.
        size: the bytes that the header took; the client's begin behind them.
    """

    address: str | None
    size: int


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Reads the header, of version 1 or 2, that a proxy sends before the client's bytes.

    Args:
        data: all that was received so far.

    Returns:
        None if the header is not complete yet.

    Raises:
        BadProxyHeader: as soon as the bytes cannot become a header.
    """
    if data.startswith(_V2_SIGNATURE):
        return _read_v2(data)
    if _V2_SIGNATURE.startswith(data):
        return None
    return _read_v1(data)


def _read_v1(data: bytes) -> ProxyHeader | None:
    """PROXY, family, source, destination, the two ports; one space between them, CRLF behind them."""
    line, end, _ = data[:V1_BYTES_MAX].partition(b"\r\n")
    if not any(
        (line + end).startswith(beginning) or beginning.startswith(line + end) for beginning in _V1_BEGINNINGS
    ):
        raise BadProxyHeader("neither a PROXY line nor the signature of version 2")
    has_ended = bool(end) or line.endswith(b"\r")
    if not end and len(line) + (1 if has_ended else 2) > V1_BYTES_MAX:
        raise BadProxyHeader(f"a PROXY line of more than {V1_BYTES_MAX} bytes")
    address = None
    if line.startswith(_V1_BEGINNINGS[:2]):
        fields = (line if end else line.removesuffix(b"\r")).split(b" ")
        address = _read_v1_fields(fields[1], fields[2:], has_ended=has_ended)
    return ProxyHeader(address, len(line) + len(end)) if end else None


def _read_v1_fields(family: bytes, fields: list[bytes], *, has_ended: bool) -> str | None:
    """The source; None if it may not be whole yet. Checks each field as far as it is there."""
    make, shape = (IPv4Address, _V1_IPV4) if family == b"TCP4" else (IPv6Address, _V1_IPV6)
    shapes = (shape, shape, _V1_PORT, _V1_PORT)
    if len(fields) > len(shapes) or (has_ended and len(fields) < len(shapes)):
        raise BadProxyHeader("a PROXY line has two addresses and two ports")
    if not all(shape.fullmatch(field) for shape, field in zip(shapes, fields, strict=False)):
        raise BadProxyHeader("a PROXY line with what is neither address nor port")
    whole = [field.decode("ascii") for field in (fields if has_ended else fields[:-1])]
    try:
        addresses = [make(text) for text in whole[:2]]
        ports = [int(text) for text in whole[2:]]
    except ValueError as error:
        raise BadProxyHeader(f"a PROXY line with a bad field: {error}") from error
    if any(port > 0xFFFF for port in ports):
        raise BadProxyHeader("a PROXY line with a port above 65535")
    return str(_unmapped(addresses[0])) if addresses else None


def _read_v2(data: bytes) -> ProxyHeader | None:
    """offset 0: signature; 12: version and command; 13: family and transport; 14: length; 16: source, ...

    All numbers are big-endian. The length counts what follows it, TLVs behind the addresses among it.
    """
    if len(data) > 12 and data[12] not in (_V2_LOCAL, _V2_PROXY):
        raise BadProxyHeader(f"version and command {data[12]:#04x} of a PROXY header are unknown")
    if len(data) <= 13:
        return None
    # A LOCAL header's family is to be ignored, and so are addresses without a known transport.
    family, transport = (data[13] >> 4, data[13] & 0x0F) if data[12] == _V2_PROXY else (0, 0)
    if family not in _V2_ADDRESS_BYTES or transport > _V2_TRANSPORT_MAX:
        raise BadProxyHeader(f"family and transport {data[13]:#04x} of a PROXY header are unknown")
    if not transport:
        family = 0
    length = int.from_bytes(data[14:16].ljust(2, b"\0"), "big")  # without its second byte, the least it can become
    if length > V2_LENGTH_MAX:
        raise BadProxyHeader(f"a PROXY header with more than {V2_LENGTH_MAX} bytes of addresses")
    if len(data) < _V2_FIXED_BYTES:
        return None
    if length < _V2_ADDRESS_BYTES[family]:
        raise BadProxyHeader(f"a PROXY header with {length} bytes, too few for its addresses")
    if len(data) < _V2_FIXED_BYTES + length:
        return None
    address: str | None = None
    if family == 1:
        address = str(IPv4Address(data[16:20]))
    elif family == 2:
        address = str(_unmapped(IPv6Address(data[16:32])))
    return ProxyHeader(address, _V2_FIXED_BYTES + length)
