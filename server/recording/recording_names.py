"""The names of recordings: `20261127T101502Z-arena-r7f3-t1840-failure.tickrec`.

A name has only letters, digits, `-`, `_` and `.`, does not begin with a dot, and has a fixed ending. So a name that a
request contains cannot leave the directory. Names sort by time. Pure.
"""

from __future__ import annotations

import datetime
import re
from typing import Literal, get_args

Trigger = Literal["failure", "report", "operator"]
"""Why a recording was written: the room has failed, a player has reported it, or an operator has requested it."""
ENDING = ".tickrec"
_PART_CHARACTERS_MAX = 40
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,180}" + re.escape(ENDING))
_OTHER_CHARACTERS = re.compile(r"[^0-9A-Za-z_-]")
_TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)


def create_name(now_s: float, room_type: str, room_id: str, tick: int, trigger: Trigger) -> str:
    """Return the name of a recording.

    Args:
        now_s: the time, UTC, seconds since 1970.
        room_type: the type of the room.
        room_id: the id of the room.
        tick: the newest tick.
        trigger: why the recording is written.
    """
    time = datetime.datetime.fromtimestamp(now_s, datetime.UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return f"{time}-{_to_part(room_type)}-{_to_part(room_id)}-t{tick}-{trigger}{ENDING}"


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a recording."""
    return _NAME.fullmatch(text) is not None


def trigger_of(name: str) -> Trigger:
    """Return why a recording was written; a name of another form counts as one of an operator."""
    last = name.removesuffix(ENDING).rpartition("-")[2]
    return next((trigger for trigger in _TRIGGERS if trigger == last), "operator")


def _to_part(text: str) -> str:
    return _OTHER_CHARACTERS.sub("_", text)[:_PART_CHARACTERS_MAX] or "_"
