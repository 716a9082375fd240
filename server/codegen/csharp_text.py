"""Lines of C#: blocks and comments. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape


def block(head: str, lines: Iterable[str]) -> list[str]:
    """Return a declaration with its body in braces."""
    return [head, "{", *(f"    {line}" if line else "" for line in lines), "}"]


def declare(before: list[str]) -> list[str]:
    """Return the empty line that separates a member from those before it; nothing before the first."""
    return [""] if before else []


def summary(text: str, parameters: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Return a documentation comment; empty without text."""
    lines = [f"/// <summary>{_one_line(text)}</summary>"] if text.strip() else []
    lines += [f'/// <param name="{name}">{_one_line(note)}</param>' for name, note in parameters]
    return lines


def _one_line(text: str) -> str:
    return escape(" ".join(text.split()))
