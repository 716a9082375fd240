"""Bots for development: clients that connect over WebSockets and fly ships in `arena`."""

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
"""Receives the name of a bot and an error; an empty error means that the bot has joined."""


async def run_bots(
    url: str, count: int, *, seed: int, room_name: str = "lobby", observe: Observe = lambda bot, error: None
) -> None:
    """Keep `count` bots in play until cancelled; a bot that loses its connection connects again.

    Args:
        url: the URL for players.
        count: the number of bots.
        seed: determines the actions of all bots.
        room_name: the durable room that the bots join.
        observe: receives joins and errors.
    """
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            rng = random.Random(f"{seed}/{number}")  # noqa: S311
            group.create_task(_run_bot(url, f"bot {number}", room_name, rng, observe), name=f"bot {number}")


async def _run_bot(url: str, name: str, room_name: str, rng: random.Random, observe: Observe) -> None:
    while True:
        try:
            await _play(url, name, room_name, rng, observe)
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.debug("bot_lost", bot=name, error=reason)
            observe(name, reason)
            advised_s = error.error.retry_after_ms / 1000 if isinstance(error, Refused) else 0.0
            await asyncio.sleep(advised_s + RETRY_S * (0.5 + rng.random()))  # not before the advised time


async def _play(url: str, name: str, room_name: str, rng: random.Random, observe: Observe) -> None:
    async with connect(url, build="bot") as client:
        await client.join("arena", name=room_name, options={"name": name})
        observe(name, "")
        turn = 0.0
        while True:
            turn = max(-1.0, min(1.0, turn + rng.uniform(-0.3, 0.3)))
            await client.send_input({"thrust": rng.uniform(0.5, 1.0), "turn": turn, "fire": rng.random() < 0.2})
            await asyncio.sleep(1 / INPUTS_PER_SECOND)
