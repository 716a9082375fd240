"""Checks which web pages may open a WebSocket, by the Origin header that browsers send (RFC 6454).

This prevents the pages of other sites from using a player's browser. It does not restrict other programs, which can
send any Origin or none. Origins are compared as browsers send them: host names in lower case and Punycode. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

LOOPBACK = "loopback"
_PORTS = {"http": 80, "https": 443}
_AUTHORITY = r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)(?::(?P<port>[0-9]{1,5}))?"
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://" + _AUTHORITY)
_HOST = re.compile(_AUTHORITY)


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int | None  # None for a scheme without a known default port


class OriginPolicy:
    """The origins that may connect.

    Args:
        allowed: "https://game.example", with a port if it is not the scheme's own; "https://*.game.example" for
            all its subdomains, but not for itself; "loopback" for pages that this machine serves, on any port, as
            development servers do; "null" for pages without an origin; "*" for all.

    Raises:
        ValueError: an entry is not one of these; the message contains it.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allows_all = "*" in allowed
        self._allows_null = "null" in allowed
        self._allows_loopback = LOOPBACK in allowed
        self._exact: set[_Origin] = set()
        self._parents: list[_Origin] = []  # their hosts start with a dot
        for entry in allowed:
            if entry in ("*", "null", LOOPBACK):
                continue
            origin, is_wildcard = _parse_entry(entry)
            if is_wildcard:
                self._parents.append(origin._replace(host="." + origin.host))
            else:
                self._exact.add(origin)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Return whether a request may become a WebSocket.

        Args:
            origin: the Origin header; None if it is absent, because the client is not a browser.
            host: the Host header; pages from this host are allowed.
        """
        if origin is None or self._allows_all:
            return True
        if origin == "null":
            return self._allows_null
        parsed = _parse(origin)
        if parsed is None:
            return False
        if self._allows_loopback and _is_loopback(parsed):
            return True
        return (
            parsed in self._exact
            or _is_own(parsed, host)
            or any(_is_below(parsed, parent) for parent in self._parents)
        )


def _parse_entry(entry: str) -> tuple[_Origin, bool]:
    """Return the origin of an entry, and whether the entry means all its subdomains."""
    scheme, separator, rest = entry.partition("://")
    is_wildcard = rest.startswith("*.")
    origin = _parse(scheme + separator + rest.removeprefix("*."))
    if origin is None or (is_wildcard and origin.host.startswith("[")):
        raise ValueError(
            "must be a list of origins: scheme://host or scheme://host:port without a path, in ASCII, "
            f'with "*." at most before the host; or "*", "loopback" or "null"; got {entry[:80]!r}'
        )
    if origin.scheme in ("ws", "wss"):  # it would silently never match
        raise ValueError(f"must be a list of origins, which begin with http:// or https://; got {entry[:80]!r}")
    return origin, is_wildcard


def _parse(text: str) -> _Origin | None:
    match = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    return None if match is None else _with_port(match["scheme"], match)


def _with_port(scheme: str, match: re.Match[str]) -> _Origin | None:
    host, port = match["host"], _PORTS.get(scheme) if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port <= 0xFFFF:
        return None
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"  # in its canonical spelling
        except ValueError:
            return None
    return _Origin(scheme, host, port)


def _is_own(origin: _Origin, host: str | None) -> bool:
    """Return whether the origin is this server by its Host header; only HTTP servers have pages."""
    if host is None or not host.isascii() or origin.scheme not in _PORTS:
        return False
    match = _HOST.fullmatch(host.lower())
    return match is not None and _with_port(origin.scheme, match) == origin


def _is_loopback(origin: _Origin) -> bool:
    """Return whether the origin is this machine: RFC 6761, 6.3, and RFC 1122, 3.2.1.3."""
    host = origin.host.removesuffix(".")
    if origin.scheme not in _PORTS:
        return False
    if host == "[::1]" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return False


def _is_below(origin: _Origin, parent: _Origin) -> bool:
    # A host never starts with a dot, so at least one label precedes the parent's.
    return origin.host.endswith(parent.host) and origin._replace(host=parent.host) == parent
