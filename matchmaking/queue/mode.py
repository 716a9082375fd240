"""A mode: a queue by a name, its rules, and what a game may put in the place of ours. Pure."""

from __future__ import annotations

import re

import msgspec

from tickwire.matchmaking.queue.match_function import find_matches
from tickwire.matchmaking.queue.rules import MatchFunction, Rules, SkillOf, no_skill

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


class Mode(msgspec.Struct, frozen=True):
    """A queue that players may wait in.

    Args:
        name: 1 to 64 of A-Z a-z 0-9 _ . -
        rules: who may play whom.
        match: makes the matches.
        skill_of: what a player's skill is.
    """

    name: str
    rules: Rules
    match: MatchFunction = find_matches
    skill_of: SkillOf = no_skill

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a mode's name has 1 to 64 of A-Z a-z 0-9 _ . -, not {self.name[:80]!r}")
