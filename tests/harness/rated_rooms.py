"""Rooms of two players who are matched by the rating in their profile. A test decides how a lookup behaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tickwire import Room
from tickwire.matchmaking.queue import Mode, Rules, SkillRequest


class Ring(Room):
    """Two seats."""

    room_type = "ring"
    max_players = 2


async def find_rating(request: SkillRequest) -> float:
    """Return the rating of the profile; the options of the request may ask for something else."""
    match request.options.get("how"):
        case "fail":
            raise RuntimeError("the rating service is down")
        case "nan":
            return float("nan")
        case "huge":
            return 1e308
        case "wait":
            await asyncio.Event().wait()
        case "shared call":
            shared = asyncio.get_running_loop().create_future()
            shared.cancel()
            await shared
        case "exit":
            raise SystemExit("no rating service is configured")
        case "catch the cancellation":
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return 1.0
    await asyncio.sleep(0)
    return float(request.profile["rating"])


RULES = Rules(room_type="ring", teams=2, team_size=1)
ROOMS = [Ring]
MODES = [
    Mode("rated", RULES, skill_of=find_rating, default_skill=1000),
    Mode("casual", RULES, skill_of=lambda request: len(request.profile)),
]
