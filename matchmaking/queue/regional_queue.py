"""The queue of one mode, as the leader of one region works on it."""

from __future__ import annotations

import msgspec

from tickwire.matchmaking.queue.mode import Mode
from tickwire.matchmaking.scripts import Scripts


class RegionalQueue(msgspec.Struct, frozen=True):
    """A queue and a region.

    Args:
        mode: the mode of the queue.
        region: the region in which the matches are played.
        scripts: runs scripts on the keys of the queue.
    """

    mode: Mode
    region: str
    scripts: Scripts
