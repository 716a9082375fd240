"""Names of a game's classes in client code. Pure."""

from __future__ import annotations

import re
from typing import Any, get_args


def name_of(kind: Any) -> str:
    """Return the name of a class in clients: with its outer class, and with its type arguments."""
    qualified = kind.__qualname__.rpartition("<locals>.")[2]
    inner = "".join(name_of(argument) for argument in get_args(kind) if hasattr(argument, "__qualname__"))
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"\W+", qualified)) + inner
