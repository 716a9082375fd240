"""Class names are unique in the repository, so that a name in a log, a trace or a search means one class."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ON_BOTH_SIDES = {"Event", "Input"}
"""The base class in the API for games, and the message that carries its values (schemas/messages.py)."""
FOLDERS = (
    "client",
    "server",
    "services",
    "schemas",
    "matchmaking",
    "loadtest",
    "testing",
    "examples",
    "tickwire",
    "benchmarks",
    "tests",
)


def test_each_class_name_is_used_once() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "generated" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 500
    assert {name: found for name, found in places.items() if len(found) > 1 + (name in ON_BOTH_SIDES)} == {}
