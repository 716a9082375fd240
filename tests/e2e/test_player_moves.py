"""A room moves its players to other rooms: they keep their seat until they have another, and learn the reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.harness.moving_rooms import Hub
from tests.harness.polling import eventually
from tests.harness.raw_client import hello, raw_client
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, connect
from tickwire.client.core import ClientCore
from tickwire.client.updates import Redirected
from tickwire.matchmaking import Placement, PlaceRequest
from tickwire.schemas.codec import encode_server
from tickwire.schemas.messages import Command, Event, Input, Join, Joined, Left, Redirect, Reply, Welcome
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


class HeldJoins:
    """Holds the next placement of a shard until `release` is set."""

    def __init__(self, shard: Shard) -> None:
        self.has_join, self.release = asyncio.Event(), asyncio.Event()
        placement = shard.parts.matchmaker.placement
        place = placement.place

        async def held(request: PlaceRequest) -> Placement:
            placement.place = place  # type: ignore[method-assign]
            self.has_join.set()
            await self.release.wait()
            return await place(request)

        placement.place = held  # type: ignore[method-assign]


def event_payloads(client: Client, name: str) -> list[Any]:
    return [event.payload for event in client.events if event.name == name]


def hub_of(shard: Shard) -> Hub:
    return next(runtime.room for runtime in shard.parts.host if isinstance(runtime.room, Hub))


def players_of(shard: Shard, joined: Joined) -> list[str]:
    runtime = shard.parts.host.get(joined.room_id)
    assert runtime is not None
    return list(runtime.room.players)


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


async def test_a_player_refused_on_another_shard_learns_it_and_can_join_again(settings: Settings) -> None:
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        player(b, "bob") as (bob, _),
        player(a, "ann") as (ann, anns),
    ):
        field = await join_at(b, bob, "field", {"team": 1})
        hub = await join_at(a, ann, "hub")
        refusals: list[str] = []
        ann.on("refused", lambda refused: refusals.append(refused.error.message))
        options = {"team": 3, "is_refused": True}
        await ann.command("move", room_type="field", name=field.room_name, options=options)
        await ann.wait_for(lambda: bool(refusals))
        assert refusals == ["the field is closed to you"]
        assert anns == [hub.room_id, REASON]
        joined = await ann.join("field", name=field.room_name, options={"team": 2})
        assert joined.room_id == field.room_id, "the reservation is released"


async def test_the_client_cannot_choose_the_options_of_a_move(settings: Settings) -> None:
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        player(b, "bob") as (bob, _),
        player(a, "eve") as (eve, _),
        raw_client(a.url, hello(token=token_of("ann"))) as raw,
    ):
        field = await join_at(b, bob, "field", {"team": 1})
        hub = await join_at(a, eve, "hub")
        await raw.next(Welcome)
        await raw.say(Join("hub", room_name=hub.room_name))
        await raw.next(Joined)
        arguments = {"room_type": "field", "name": field.room_name, "options": {"team": 3}}
        await raw.say(Command(1, "move", msgspec.msgpack.encode(arguments)))
        redirect = await raw.next(Redirect)
        assert (await raw.next(Left)).reason == REASON
        assert redirect.url == b.url
        async with raw_client(b.url, hello(token=token_of("ann"))) as there:
            await there.next(Welcome)
            options = msgspec.msgpack.encode({"team": 99})
            await there.say(Join("field", ticket=redirect.ticket, options=options))
            assert (await there.next(Joined)).room_id == field.room_id
            event = await there.next(Event)
            assert msgspec.msgpack.decode(event.payload) == {"team": 3}


async def test_a_client_that_missed_the_redirect_receives_it_when_it_resumes(settings: Settings) -> None:
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        player(b, "bob") as (bob, _),
        player(a, "eve") as (eve, _),
        raw_client(a.url, hello(token=token_of("ann"))) as raw,
    ):
        field = await join_at(b, bob, "field", {"team": 1})
        hub = await join_at(a, eve, "hub")
        welcome = await raw.next(Welcome)
        await raw.say(Join("hub", room_name=hub.room_name))
        await raw.next(Joined)
        hub_of(a).players["ann"].move_to("field", name=field.room_name, options={"team": 3}, reason=REASON)
        redirect = await raw.next(Redirect)
        raw.cut()
        core = ClientCore()
        core.state.enter(hub)
        resume = hello(token=token_of("ann"), resume_token=welcome.resume_token, room_id=hub.room_id, attempt=1)
        async with raw_client(a.url, resume) as again:
            answer = await again.next(Welcome)
            assert (answer.room_id, answer.generation) == (hub.room_id, 2), "its client still believes to be there"
            update = core.receive(encode_server(await again.next(Redirect)), now_us=0)
            assert update == Redirected(redirect, is_move=True)
            assert (await again.next(Left)).reason == REASON
        aware = hello(token=token_of("ann"), resume_token=answer.resume_token, attempt=2)
        async with raw_client(a.url, aware) as again:
            assert (await again.next(Welcome)).room_id == "", "the client has received Left"
            await again.say(Join("hub", room_name=hub.room_name))
            assert isinstance(await again.any(), Joined), "and no Redirect again"


async def test_a_durable_room_is_restored_for_a_player_who_is_moved_to_it(settings: Settings) -> None:
    async with running(settings) as shard, player(shard, "ann") as (ann, anns):
        field = await ann.join("field", name="north", options={"team": 1})
        await ann.command("back")
        await ann.wait_for(lambda: len(anns) == 3)
        await eventually(lambda: shard.parts.host.get(field.room_id) is None, what="the empty room has closed")
        await ann.command("move", room_type="field", name="north", options={"team": 2})
        await ann.wait_for(lambda: len(anns) == 5)
        assert ann.core.joined is not None
        assert ann.core.joined.room_name == "north"
        assert ann.core.joined.tick > field.tick == 0, "restored from its save; a new room begins with tick 0"


async def test_a_guest_keeps_its_id_in_all_moves(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, rooms=["tests.harness.moving_rooms"])
    async with (
        running(settings, "a") as a,
        running(settings, "b") as b,
        connect(b.url) as other,
        connect(a.url) as guest,
    ):
        field = await join_at(b, other, "field", {"team": 1})
        await join_at(a, guest, "hub")
        [player_id] = hub_of(a).players
        await guest.command("move", room_type="field", name=field.room_name, options={"team": 2})
        await guest.wait_for(lambda: guest.core.joined is not None and guest.core.joined.room_id == field.room_id)
        assert player_id in players_of(b, field)
        await guest.command("back")
        await guest.wait_for(lambda: guest.core.joined is not None and guest.core.joined.room_type == "hub")
        hub = guest.core.joined
        assert hub is not None
        assert player_id in players_of(a if guest.url == a.url else b, hub)


async def test_a_player_that_loses_its_connection_in_a_move_resumes_in_the_other_room(settings: Settings) -> None:
    async with running(settings) as shard, player(shard, "ann") as (ann, _):
        await ann.join("hub")
        hub = hub_of(shard)
        gate = HeldJoins(shard)
        hub.players["ann"].move_to("field", options={"team": 1}, reason=REASON, then=hub.moved)
        await gate.has_join.wait()
        await ann.drop()
        await eventually(lambda: not hub.players["ann"].is_connected or ann.resumes > 0)
        gate.release.set()
        await ann.wait_for(lambda: ann.core.joined is not None and ann.core.joined.room_type == "field")
        await eventually(lambda: [outcome.refused for outcome in hub.outcomes] == [""])
        await ann.wait_for(lambda: event_payloads(ann, "welcome") == [{"team": 1}])
        await ann.command("back")
        await ann.wait_for(lambda: ann.core.joined is not None and ann.core.joined.room_type == "hub")


async def test_a_player_that_leaves_during_a_move_has_no_seat(settings: Settings) -> None:
    async with running(settings) as shard, player(shard, "ann") as (ann, anns):
        joined = await ann.join("hub")
        hub = hub_of(shard)
        gate = HeldJoins(shard)
        hub.players["ann"].move_to("field", options={"team": 1}, then=hub.moved)
        await gate.has_join.wait()
        await ann.leave()
        gate.release.set()
        await eventually(lambda: [outcome.refused for outcome in hub.outcomes] == ["the player has left the room"])
        assert anns == [joined.room_id, "left"]
        await seats_are(shard, hub=0, field=0)
        assert (await ann.join("field", options={"team": 1})).room_type == "field"


async def test_inputs_for_the_room_before_may_arrive_after_a_move(settings: Settings) -> None:
    async with running(settings) as shard, raw_client(shard.url, hello(token=token_of("ann"))) as raw:
        await raw.say(Join("field", options=msgspec.msgpack.encode({"team": 1})))
        await raw.next(Joined)
        await raw.say(Command(1, "back"), Input(1, 0, bytes(4)))
        await eventually(lambda: any(isinstance(runtime.room, Hub) for runtime in shard.parts.host))
        await eventually(lambda: "ann" in hub_of(shard).players)
        await raw.say(Input(2, 0, bytes(4)), Command(2, "move", msgspec.msgpack.encode({"room_type": "field"})))
        assert (await raw.next(Reply)).id == 1
        assert (await raw.next(Reply)).ok, "the client had not received Joined when it sent the input"
