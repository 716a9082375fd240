"""Classes and documentation comments of GDScript as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def to_class(name: str, doc: str, lines: Iterable[str], *, base: str = "RefCounted") -> list[str]:
    """Return the lines of a class inside of the script."""
    body = [f"\t{line}" if line else "" for line in lines] or ["\tpass"]
    return [*to_comment([escape_tags(doc)]), f"class {name} extends {base}:", *body]


def to_comment(paragraphs: list[str]) -> list[str]:
    """Return a documentation comment, which the editor shows; empty without text."""
    lines = [line for paragraph in paragraphs if (line := " ".join(paragraph.split()))]
    return [f"## {'[br]' if index else ''}{line}" for index, line in enumerate(lines)]


def escape_tags(text: str) -> str:
    """Return a text of the game for a comment: the editor reads comments as BBCode."""
    return text.replace("[", "[lb]")
