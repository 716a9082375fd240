"""Loads the native kernel: C for the hot paths of the codec, where it was built.

The Python code is the reference. It runs where the kernel was not built, and where the environment has
TICKWIRE_NO_NATIVE=1. Both produce the same bytes, numbers and errors. A caller reads `is_native` at every call, so
that tests can switch between both.
"""

from __future__ import annotations

import importlib.util
import os

import numpy as np

__all__ = [
    "SeatFields",
    "SocketFields",
    "decode_section",
    "describe",
    "encode_section",
    "is_native",
    "push_input",
    "quantise",
    "read_input",
    "reason",
    "send",
    "send_state",
    "widen",
]

is_native = False
"""Whether the native kernel runs."""
reason = ""
"""Why it does not run; empty if it does."""

if os.environ.get("TICKWIRE_NO_NATIVE", "0") not in ("", "0"):
    reason = "TICKWIRE_NO_NATIVE is set"
elif np.dtype(np.intp).itemsize != 8:
    reason = "it requires a 64-bit system"
elif importlib.util.find_spec("tickwire.schemas._kernel") is None:
    reason = "it was not built: the installation found no C compiler, or no Python.h"
else:
    try:
        from tickwire.schemas import _kernel

        decode_section, encode_section = _kernel.decode_section, _kernel.encode_section
        quantise, widen = _kernel.quantise, _kernel.widen
        push_input, read_input = _kernel.push_input, _kernel.read_input
        send, send_state = _kernel.send, _kernel.send_state
        SeatFields, SocketFields = _kernel.SeatFields, _kernel.SocketFields
    except (ImportError, AttributeError) as error:  # a kernel of an earlier build may lack a function
        reason = f"it cannot be loaded: {error}"
    else:
        is_native = True


def describe() -> str:
    """Return which implementation runs, for people: `native`, or `python` and the reason."""
    return "native" if is_native else f"python ({reason})"
