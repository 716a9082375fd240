"""A mode: a named queue, its rules, and the functions that a game can replace. Pure."""

from __future__ import annotations

import re

import msgspec

from tickwire.matchmaking.queue.match_function import find_matches
from tickwire.matchmaking.queue.rules import MatchFunction, Rules, SkillOf, no_skill

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


class Mode(msgspec.Struct, frozen=True):
    """A queue that players can join.

    Args:
        name: 1 to 64 of A-Z a-z 0-9 _ . -
        rules: which players can play together.
        match: the match function.
        skill_of: returns the skill of a player.
    """

    name: str
    rules: Rules
    match: MatchFunction = find_matches
    skill_of: SkillOf = no_skill

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"the name of a mode must be 1 to 64 of A-Z a-z 0-9 _ . -, not {self.name[:80]!r}")
