"""Takes the mask off a payload (RFC 6455, section 5.3): the WebSocket library's own routine, in C where built."""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask as unmask
except ImportError:  # a library that was built without its extension has the same in Python
    from websockets.utils import apply_mask as unmask

__all__ = ["unmask"]
