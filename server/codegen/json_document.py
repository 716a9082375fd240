"""Writes the API of a game as JSON, for generators in other languages and for comparisons of two builds. Pure."""

from __future__ import annotations

import msgspec

from tickwire.server.codegen.game_api import GameApi


def generate_json(api: GameApi) -> str:
    """Return a GameApi as indented JSON; its structure is that of the structs."""
    return msgspec.json.format(msgspec.json.encode(api), indent=2).decode() + "\n"
