"""Bots: real clients over the real WebSocket, that fly about in `arena`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from tickwire.client.client import ClientError, Refused, connect

log = structlog.get_logger(__name__)

INPUTS_PER_SECOND = 10
RETRY_S = 1.0


Observe = Callable[[str, str], None]
"""Receives a bot's name, and why it is not in play; an empty reason means that it has joined."""


async def run_bots(
    url: str, count: int, *, seed: int, room_name: str = "lobby", observe: Observe = lambda bot, error: None
) -> None:
    """Keeps `count` bots in play until cancelled.

    Args:
        url: where the first shard listens.
        seed: what they do depends on it alone.
        room_name: the durable room that they play in.
        observe: see `Observe`.
    """
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            rng = random.Random(f"{seed}/{number}")  # noqa: S311
            group.create_task(_live(url, f"bot {number}", room_name, rng, observe), name=f"bot {number}")


async def _live(url: str, name: str, room_name: str, chance: random.Random, observe: Observe) -> None:
    while True:
        try:
            await _play(url, name, room_name, chance, observe)
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.debug("bot_lost", bot=name, error=reason)
            observe(name, reason)
            advised_s = error.error.retry_after_ms / 1000 if isinstance(error, Refused) else 0.0
            await asyncio.sleep(advised_s + RETRY_S * (0.5 + chance.random()))  # never before the advice


async def _play(url: str, name: str, room_name: str, chance: random.Random, observe: Observe) -> None:
    async with connect(url, build="bot") as client:
        await client.join("arena", name=room_name, options={"name": name})
        observe(name, "")
        turn = 0.0
        while True:
            turn = max(-1.0, min(1.0, turn + chance.uniform(-0.3, 0.3)))
            await client.send_input({"thrust": chance.uniform(0.5, 1.0), "turn": turn, "fire": chance.random() < 0.2})
            await asyncio.sleep(1 / INPUTS_PER_SECOND)
