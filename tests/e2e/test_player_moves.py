"""A room moves its players to other rooms: they keep their seat until they have another, and learn the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.harness.moving_rooms import Hub
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, connect
from tickwire.schemas.messages import Joined
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

REASON = "the match begins"


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return msgspec.structs.replace(shard_settings, rooms=["tests.harness.moving_rooms"], auth=AUTH)


@asynccontextmanager
async def player(shard: Shard, name: str) -> AsyncIterator[tuple[Client, list[Any]]]:
    """Connect a player, and record the rooms that it enters and the reasons for which it leaves rooms."""
    async with connect(shard.url, token=token_of(name)) as client:
        steps: list[Any] = []
        client.on("left", steps.append)
        client.on("joined", lambda joined: steps.append(joined.room_id))
        yield client, steps


def event_payloads(client: Client, name: str) -> list[Any]:
    return [event.payload for event in client.events if event.name == name]


def hub_of(shard: Shard) -> Hub:
    return next(runtime.room for runtime in shard.parts.host if isinstance(runtime.room, Hub))


async def seats_are(shard: Shard, **taken: int) -> None:
    """Wait until the directory has these numbers of taken seats in the unnamed rooms of each type."""

    async def has_seats() -> bool:
        directory = shard.parts.matchmaker.directory
        return {kind: sum(room.taken for room in await directory.list_rooms(kind)) for kind in taken} == taken

    await eventually(has_seats)


async def join_at(shard: Shard, client: Client, room_type: str, options: dict[str, Any] | None = None) -> Joined:
    """Join a new named room that is placed on this shard."""
    for number in range(50):
        joined = await client.join(room_type, name=f"{room_type}-{number}", options=options)
        if shard.parts.host.get(joined.room_id) is not None:
            return joined
        await client.leave()
    raise AssertionError("every room was placed on the other shard")


async def test_a_player_is_moved_to_another_room_of_its_shard(settings: Settings) -> None:
    async with (
        running(settings) as shard,
        player(shard, "ann") as (ann, anns),
        player(shard, "bob") as (bob, bobs),
    ):
        hub = await ann.join("hub")
        await bob.join("hub")
        await ann.command("move", room_type="field", options={"team": 3})
        await ann.wait_for(lambda: ann.core.joined is not None and ann.core.joined.room_type == "field")
        field = ann.core.joined
        assert field is not None
        assert anns == [hub.room_id, REASON, field.room_id]
        assert [event.name for event in ann.events][-1] == "last words", "the events of the hub arrive before"
        await ann.wait_for(lambda: event_payloads(ann, "welcome") == [{"team": 3}])
        await ann.wait_for(lambda: len(ann.world.table("pads")) == 1)
        await bob.wait_for(lambda: event_payloads(bob, "outcome") == [["ann", ""]])
        await bob.wait_for(lambda: len(bob.world.table("pads")) == 1)
        assert list(hub_of(shard).players) == ["bob"]
        await seats_are(shard, hub=1, field=1)
        await ann.command("back")
        await ann.wait_for(lambda: len(anns) == 5)
        assert anns[-2:] == ["the player moves to another room", hub.room_id]
        await seats_are(shard, hub=2, field=0)
        assert len(bobs) == 1
        assert ann.core.mismatches == bob.core.mismatches == 0


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        ({"name": "full", "options": {"team": 1}}, "seats"),
        ({"options": {"team": 1, "is_refused": True}}, "the field is closed to you"),
        ({"options": {"team": "red"}}, "team"),
        ({"room_type": "nowhere"}, "nowhere"),
    ],
)
async def test_a_player_that_cannot_be_moved_keeps_its_seat(
    settings: Settings, target: dict[str, Any], refused: str
) -> None:
    async with (
        running(settings) as shard,
        player(shard, "ann") as (ann, anns),
        player(shard, "bob") as (bob, _),
        player(shard, "eve") as (eve, _),
    ):
        for other in (bob, eve):
            await other.join("field", name="full", options={"team": 1})
        hub = await ann.join("hub")
        await ann.command("move", **{"room_type": "field", **target})
        await ann.wait_for(lambda: bool(event_payloads(ann, "outcome")))
        [[name, reason]] = event_payloads(ann, "outcome")
        assert name == "ann"
        assert refused in reason
        assert anns == [hub.room_id]
        assert event_payloads(ann, "welcome") == [], "the events of the other room are discarded"
        await seats_are(shard, hub=1, field=0)
        await ann.command("move", room_type="field", name="north", options={"team": 2})
        await ann.wait_for(lambda: len(anns) == 3)


async def test_a_player_is_moved_to_a_room_on_another_shard(settings: Settings) -> None:
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        player(b, "bob") as (bob, _),
        player(a, "ann") as (ann, anns),
        player(a, "eve") as (eve, _),
    ):
        field = await join_at(b, bob, "field", {"team": 1})
        hub = await join_at(a, ann, "hub")
        await eve.join("hub", name=hub.room_name)
        await ann.command("move", room_type="field", name=field.room_name, options={"team": 3})
        await ann.wait_for(lambda: len(anns) == 3)
        assert anns == [hub.room_id, REASON, field.room_id]
        assert ann.url == b.url
        await ann.wait_for(lambda: event_payloads(ann, "welcome") == [{"team": 3}])
        await ann.wait_for(lambda: len(ann.world.table("pads")) == 2)
        await eve.wait_for(lambda: event_payloads(eve, "outcome") == [["ann", ""]])
        assert list(hub_of(a).players) == ["eve"]
        await eventually(lambda: len(a.parts.sessions) == 1, what="the session on the first shard has ended")
        await eve.command("move", room_type="field", name=field.room_name, options={"team": 3})
        await eve.wait_for(lambda: len(event_payloads(eve, "outcome")) == 2)
        assert "seats" in event_payloads(eve, "outcome")[1][1]
