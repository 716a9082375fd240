"""Finds the address of a client behind proxies, with X-Forwarded-For.

Nothing that a client writes is trusted: a forwarded address counts only if a trusted proxy wrote it. An IPv4 address
that is mapped into IPv6 (::ffff:10.0.0.1, as a socket for both families reports it) counts as that IPv4 address.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    """The networks of the proxies that are trusted to report a client's address.

    Args:
        networks: in CIDR notation, "10.0.0.0/8"; an address alone is a network of one.

    Raises:
        ValueError: an entry is not a network; the message contains it.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [_parse_network(text) for text in networks]
        # A load balancer has a few addresses, and every connection has one of them.
        self._is_trusted = lru_cache(maxsize=_ADDRESSES_REMEMBERED_MAX)(self._is_in_networks)

    def trusts(self, address: str) -> bool:
        """Return whether the address is in one of the networks; False for a text that is not an IP address."""
        return self._is_trusted(address)

    def client_address(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """Return the last address in the chain of proxies that is not a trusted proxy.

        Args:
            peer: the address of the socket's peer.
            forwarded_for: the values of all X-Forwarded-For headers, in the order of the request.

        Returns:
            The peer unchanged, or a forwarded address in its canonical spelling, without a port. The leftmost valid
            address if all are trusted, or if the text to its left is not an address.
        """
        client = peer
        if not self.trusts(peer):
            return client
        # From the right: each proxy appends its peer, so the client's own entries are leftmost.
        for part in reversed(",".join(forwarded_for).rsplit(",", FORWARDED_PARTS_MAX)[-FORWARDED_PARTS_MAX:]):
            address = _parse_part(part.strip(" \t"))
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def _is_in_networks(self, text: str) -> bool:
        try:
            address = unmap(ip_address(text))
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _parse_network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"must be a list of networks such as 10.0.0.0/8; got {text[:80]!r}") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        ipv4 = network.network_address.ipv4_mapped
        assert ipv4 is not None, "the network is within the mapped ones"
        return IPv4Network((ipv4, network.prefixlen - _MAPPED.prefixlen))
    return network


def unmap(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address maps; any other address unchanged."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _parse_part(part: str) -> Address | None:
    match = _PART.fullmatch(part)
    if match is None:
        return None
    try:
        return unmap(ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None
