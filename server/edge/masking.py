"""Unmasks a payload (RFC 6455, section 5.3) with the routine of the WebSocket library, in C where it is built."""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask as unmask
except ImportError:  # without its C extension the library has the same routine in Python
    from websockets.utils import apply_mask as unmask

__all__ = ["unmask"]
