"""The examples in random play: bad networks, lost connections, moves to other shards, crashes.

After each play every client sees what the room has, and the rules of the game hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tickwire import Room
from tickwire.examples.arena import Arena
from tickwire.examples.cards import DECK, CardTable
from tickwire.examples.minimal import SquareField
from tickwire.examples.plaza import Plaza
from tickwire.examples.tag import Tag
from tickwire.testing import HarnessClient, Network, RoomHarness, disconnect_or_reconnect, random_input, seeds

BAD = Network(latency_ms=(20, 120), loss=0.05)
Action = Callable[[HarnessClient, random.Random], object]


def play_a_card(client: HarnessClient, rng: random.Random) -> None:
    """Play a card of the hand or draw one, whoever has the turn."""
    if not client.is_seated:
        return
    hand = [card.id for card in client.world.cards if card.holder == client.entity]
    if hand and rng.random() < 0.8:
        client.command("play", card=rng.choice(hand))
    else:
        client.command("draw")


def emote(client: HarnessClient, rng: random.Random) -> None:
    """Send an emote, more often than the room allows."""
    if client.is_seated:
        client.command("emote", emote=rng.choice(["wave", "laugh", "taunt"]))


PLAYS: dict[type[Room], dict[Action, float]] = {
    Arena: {random_input: 20, disconnect_or_reconnect: 1},
    Plaza: {random_input: 20, disconnect_or_reconnect: 1},
    Tag: {random_input: 20, emote: 3, disconnect_or_reconnect: 1},
    CardTable: {play_a_card: 10, disconnect_or_reconnect: 1},
    SquareField: {random_input: 20, disconnect_or_reconnect: 1},
}


@pytest.mark.parametrize("room_class", PLAYS, ids=lambda room_class: room_class.room_type)
@seeds(3)
def test_clients_agree_with_the_room(room_class: type[Room], seed: int) -> None:
    with RoomHarness(room_class, seed=seed, network=BAD) as room:
        for name in ("ann", "bob", "cid"):
            room.join(name)
        for fault in (lambda: None, room.migrate, room.crash_and_restore):
            fault()
            room.random_play(PLAYS[room_class], steps=60)
            room.check_convergence()


@seeds(8)
def test_no_card_is_lost_and_one_player_has_the_turn(seed: int) -> None:
    with RoomHarness(CardTable, seed=seed, network=BAD) as room:
        for name in ("ann", "bob", "cid"):
            room.join(name)
        for _ in range(10):
            room.random_play(PLAYS[CardTable], steps=20)
            table = room.room
            assert len(table.deck) + len(table.cards) == len(DECK)
            assert sum(hand.has_turn for hand in table.hands) == bool(table.order)
            for player in table.order:
                assert player.entity.cards == sum(card.holder == player.entity.id for card in table.cards)


@seeds(4)
def test_only_its_owner_sees_a_hand(seed: int) -> None:
    with RoomHarness(CardTable, seed=seed) as room:
        clients = [room.join(name) for name in ("ann", "bob", "cid")]
        room.random_play({play_a_card: 1}, steps=100)
        for client in clients:
            assert {card.holder for card in client.world.cards} <= {0, client.entity}
