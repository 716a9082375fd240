"""Channels over real sockets: hands stay private, and who walks about a map sees it right, on any network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import numpy as np
import pytest

from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.client.client import Client, connect
from tickwire.examples.cards import HAND, CardTable
from tickwire.examples.plaza import Plaza
from tickwire.server.config import Settings
from tickwire.server.shard import Shard


@pytest.fixture
async def examples(shard_settings: Settings) -> AsyncIterator[Shard]:
    settings = msgspec.structs.replace(shard_settings, rooms=["tickwire.examples.plaza", "tickwire.examples.cards"])
    async with running(settings) as shard:
        yield shard


def hand_of(client: Client) -> set[int]:
    assert client.core.joined is not None
    cards = client.world.table("cards")
    return set(cards.ids[cards.quantised("holder") == client.core.joined.entity].tolist())


async def test_hands_are_their_players_alone_and_still_there_after_a_drop(examples: Shard) -> None:
    url = examples.url
    async with connect(url) as ann, connect(url) as bob, connect(url) as eve:
        for client, options in ((ann, {"name": "ann"}), (bob, {"name": "bob"}), (eve, {"watch": True})):
            await client.join("cards", options=options)
        for client in (ann, bob):
            await client.wait_for(lambda client=client: len(hand_of(client)) == HAND)  # type: ignore[misc]
        await eve.wait_for(lambda: eve.world.table("hands").column("cards").tolist() == [HAND, HAND])
        assert len(eve.world.table("cards")) == 1
        (simulation,) = examples.parts.host
        room = simulation.room
        assert isinstance(room, CardTable)
        hand = hand_of(ann)
        card = room.cards[min(hand)]
        card.suit = room.top.suit
        await ann.drop()
        await ann.wait_for(lambda: ann.is_connected)
        await ann.command("play", card.id)
        for client in (ann, bob, eve):
            await client.wait_for(lambda client=client: card.id in client.world.table("cards"))  # type: ignore[misc]
        assert hand_of(ann) == hand - {card.id}
        assert not hand_of(ann) & set(bob.world.table("cards").ids.tolist())
        assert all(client.core.mismatches == client.core.resyncs == 0 for client in (ann, bob, eve))


async def test_plaza_page_shows_exactly_the_walkers_of_the_server(examples: Shard) -> None:
    async with connect(examples.url) as walker, connect(examples.url) as other:
        me = (await walker.join("plaza", options={"name": "ann", "wanderers": 300})).entity
        await other.join("plaza")
        (simulation,) = examples.parts.host
        room = simulation.room
        assert isinstance(room, Plaza)
        seat = next(seat for seat in simulation.seats if seat.player.entity.id == me)

        def is_right() -> bool:
            if walker.world.tick != simulation.tick:
                return False
            shown = np.isin(room.walkers.channels, list(seat.interest.numbers))
            seen = walker.world.table("walkers")
            return seen.ids.tolist() == room.walkers.ids[shown].tolist() and me in seen

        await eventually(is_right, what="the client has what its cells hold")
        assert walker.world.table("walkers").entity(me)["name"] == "ann"
        for leap in range(6):
            interest = seat.interest
            seat.player.entity.x = -600.0 + 220 * leap
            await walker.send_input({"speed": 1.0, "heading": 1.0})
            if leap % 2:
                await walker.drop()
                await walker.wait_for(lambda: walker.is_connected)
            await eventually(lambda interest=interest: seat.interest is not interest and is_right())  # type: ignore[misc]
        assert walker.core.mismatches == walker.core.resyncs == 0
        heard = await walker.command("say", "hello")
        assert heard >= 1
        await walker.wait_for(lambda: any(event.name == "said" for event in walker.events))
