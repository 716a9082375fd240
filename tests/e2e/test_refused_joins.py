"""A room refuses a player with a reason: the player receives it, and the seat is free for the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from tests.harness.fleets import fleet
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, Refused, connect
from tickwire.schemas.messages import ErrorCode, Joined
from tickwire.server.config import Settings

STRANGER = {"is_stranger": True}


async def answer_of(join: Callable[[], Coroutine[Any, Any, Joined]]) -> Joined | Refused:
    """Join a room, and again while its last seat is being released in the background."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await join()
            except Refused as refused:
                if refused.error.code is not ErrorCode.ROOM_FULL:
                    return refused
            await asyncio.sleep(0.05)


def check_reason(refused: Joined | Refused) -> None:
    assert isinstance(refused, Refused)
    assert "members only" in str(refused)
    assert (refused.error.code, refused.error.retryable) == (ErrorCode.COMMAND_FAILED, False)


async def test_a_refused_member_of_a_party_may_enter_its_room_later(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, auth=AUTH)
    async with (
        fleet(settings) as (a, b),
        connect(a.url, token=token_of("ann")) as one,
        connect(b.url, token=token_of("bob")) as two,
    ):
        joined = await one.join("duel", party=("us", 2))
        for _ in range(3):  # more often than the room has seats
            check_reason(await answer_of(lambda: two.join("duel", party=("us", 2), options=STRANGER)))
        again = await answer_of(lambda: two.join("duel", party=("us", 2)))
        assert isinstance(again, Joined)
        assert again.room_id == joined.room_id


async def test_the_seat_of_a_refused_player_of_a_match_is_filled_by_another(shard_settings: Settings) -> None:
    async with (
        fleet(shard_settings) as (a, b),
        connect(a.url) as one,
        connect(b.url) as two,
        connect(a.url) as three,
    ):
        joining = asyncio.create_task(one.match("team"))
        check_reason(await answer_of(lambda: two.match("team", options=STRANGER)))
        joined = await joining
        newcomer = await three.match("team")
        assert newcomer.room_id == joined.room_id, "a match needs two players, so this is a backfill"
        assert await plays(two, "duel")


async def plays(client: Client, room_type: str) -> bool:
    """Return whether a client that was refused may join another room."""
    return bool((await client.join(room_type)).room_id)
