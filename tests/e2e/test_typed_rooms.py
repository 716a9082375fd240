"""Commands and join options with declared types, over the real WebSocket, on real stores."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.harness.polling import eventually_joins
from tests.harness.shard_process import scrape
from tickwire.client.client import CommandFailed, Refused, connect
from tickwire.schemas.messages import ErrorCode
from tickwire.server.shard import Shard


@pytest.mark.parametrize(
    ("payload", "path"),
    [({"x": 1.0, "count": 10}, "$.count"), ({"x": "far"}, "$.x"), ("far", "$.x"), ({"count": 1}, "`x`")],
)
async def test_a_command_whose_arguments_do_not_fit_is_refused_with_their_path(
    shard: Shard, payload: Any, path: str
) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        with pytest.raises(CommandFailed) as failed:
            await client.command("plant", payload)
        assert failed.value.reply.error is ErrorCode.INVALID_ARGUMENT
        assert path in failed.value.reply.message
        await client.command("plant", {"x": 1, "count": 2, "of a newer client": None})
        assert await client.command("planted") == 2
        metrics = await asyncio.to_thread(scrape, shard.parts.operations.port)
    assert metrics['tickwire_command_refusals_total{code="INVALID_ARGUMENT"}'] == 1


async def test_an_unknown_command_has_its_own_code(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        with pytest.raises(CommandFailed, match="unknown command 'dance'") as failed:
            await client.command("dance")
        assert failed.value.reply.error is ErrorCode.NO_SUCH_COMMAND


async def test_a_command_above_its_rate_is_sent_again_and_runs_later(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        ticks = await asyncio.gather(*(client.command("water") for _ in range(3)))
        assert ticks[2] >= ticks[0] + 20, "the rate is one a second, and a second has 20 ticks"
        assert shard.parts.host.counters.command_refusals["RATE_LIMITED"] >= 1


async def test_a_join_whose_options_do_not_fit_takes_no_seat_and_creates_no_room(shard: Shard) -> None:
    async with connect(shard.url) as one, connect(shard.url) as two:
        for _ in range(3):  # more often than the room has seats
            with pytest.raises(Refused) as refused:
                await one.join("duel", name="typed", options={"is_stranger": "yes"})
            assert refused.value.error.code is ErrorCode.INVALID_ARGUMENT
            assert not refused.value.error.retryable
            assert "options: Expected `bool`, got `str` - at `$.is_stranger`" in refused.value.error.message
        assert len(shard.parts.host) == 0
        await eventually_joins(one, "duel", "typed")
        await eventually_joins(two, "duel", "typed")
