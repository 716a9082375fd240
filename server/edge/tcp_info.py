"""Reads what the kernel has measured about a TCP connection."""

from __future__ import annotations

import asyncio
import socket
import struct

_TCPI_RTT_US, _TCPI_RTT_AT = struct.Struct("=I"), 68
"""The field in struct tcp_info (linux/tcp.h): eight bytes, then numbers of four bytes each."""
_TCP_INFO_BYTES = 104


def read_rtt_ms(transport: asyncio.Transport | None) -> float:
    """Return the round-trip time that the kernel has measured, in milliseconds; 0 if it is unknown."""
    if transport is None or not hasattr(socket, "TCP_INFO"):
        return 0.0
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return float(_TCPI_RTT_US.unpack_from(info, _TCPI_RTT_AT)[0]) / 1000
    except (OSError, struct.error):
        return 0.0
