"""A mode: a named queue, its rules, and the functions that a game can replace. Pure."""

from __future__ import annotations

import inspect
import re

import msgspec

from tickwire.matchmaking.queue.match_function import find_matches
from tickwire.matchmaking.queue.rules import (
    SKILL_MAX,
    MatchFunction,
    Rules,
    SkillOf,
    SkillRequest,
    is_valid_skill,
    no_skill,
)

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


class Mode(msgspec.Struct, frozen=True):
    """A queue that players can join.

    Args:
        name: 1 to 64 of A-Z a-z 0-9 _ . -
        rules: which players can play together.
        match: the match function.
        skill_of: returns the skill of a player; may be a coroutine function.
        default_skill: the skill of a player for whom `skill_of` fails.
    """

    name: str
    rules: Rules
    match: MatchFunction = find_matches
    skill_of: SkillOf = no_skill
    default_skill: float = 0.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"the name of a mode must be 1 to 64 of A-Z a-z 0-9 _ . -, not {self.name[:80]!r}")
        if not is_valid_skill(self.default_skill):
            limits = f"{-SKILL_MAX:g} to {SKILL_MAX:g}"
            raise ValueError(f"the default_skill of mode {self.name!r} must be {limits}, not {self.default_skill}")
        try:
            inspect.signature(self.skill_of).bind(SkillRequest(""))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the skill_of of mode {self.name!r} is called with (request): {error}") from error
