"""Reads the docstrings of a game, for the comments in client code. Pure."""

from __future__ import annotations

import inspect
import re
from typing import Any

_ARGUMENT = re.compile(r" {4}(\w+): +(.+)")


def doc_of(kind: Any) -> str:
    """Return the first paragraph of a class's own docstring."""
    text = getattr(kind, "__doc__", None) or ""
    is_computed = text.startswith(f"{kind.__name__}(")  # by dataclasses
    return "" if is_computed else first_paragraph(text)


def first_paragraph(doc: str) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join(doc.strip().split("\n\n")[0].split())


def arguments_of(doc: str) -> dict[str, str]:
    """Return the descriptions in the section `Args:` of a docstring, by argument, each in one line."""
    found: dict[str, str] = {}
    name = ""
    _, _, section = inspect.cleandoc(doc).partition("\nArgs:\n")
    for line in section.splitlines():
        if match := _ARGUMENT.fullmatch(line):
            name, found[match[1]] = match[1], match[2]
        elif name and line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
        elif line.strip():
            break  # the next section
    return found
