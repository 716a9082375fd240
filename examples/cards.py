"""cards: a turn-based game with spectators, in which only its owner sees a hand.

A card on the pile is in the channel of all players; a card in a hand is in the private channel of its player. Playing
a card moves it from one channel to the other: its player keeps the same entity, and for all others it appears. The
deck is not in a table, so no client receives it.

The rules: play a card with the suit or rank of the top card, or draw one, within TURN_S seconds. A player that misses
LATE_MAX turns in a row leaves the table. The first player without cards wins the round.
"""

from __future__ import annotations

import msgspec

from tickwire import (
    EVERYONE,
    CommandRefused,
    Event,
    Player,
    Room,
    Row,
    Table,
    boolean,
    command,
    entity,
    enumeration,
    text,
    uint,
)
from tickwire.matchmaking import Mode, Rules

SUITS = ("clubs", "diamonds", "hearts", "spades")
RANKS = 13
HAND = 5
TURN_S = 30.0
LATE_MAX = 3
DECK = [(suit, rank) for suit in range(len(SUITS)) for rank in range(1, RANKS + 1)]


class Hands(Table):
    """The public data of each player."""

    name = text(bytes_max=24)
    cards = uint(bits=6)
    score = uint(bits=10)
    has_turn = boolean()


class Cards(Table):
    """The cards in hands and on the pile."""

    suit = enumeration(*SUITS)
    rank = uint(bits=4)
    holder = entity()  # the hand that holds the card; 0 for the top card of the pile


class TableOptions(msgspec.Struct):
    """The options of a Join."""

    name: str = "player"
    watch: bool = False


class RoundWon(Event):
    """A player has no cards left; all players draw new ones."""

    event_name = "round"

    winner: int  # the hand of the player


class CardTable(Room):
    """Up to six players; the other seats are for spectators."""

    room_type = "cards"
    max_players = 30
    tick_rate_hz = 10.0
    empty_timeout_s = 30.0
    events = (RoundWon,)
    hands: Hands
    cards: Cards

    PLAYERS_MAX = 6

    def on_create(self, options: object) -> None:
        self.deck: list[tuple[int, int]] = []
        self.order: list[Player] = []  # the players, in turn
        self.turn = 0
        self._shuffle()
        self.top = self._put_on_pile()

    # -- joining and leaving -----------------------------------------------------------------------------------

    def on_join(self, player: Player, options: TableOptions) -> None:
        if options.watch or len(self.order) >= self.PLAYERS_MAX:
            return  # a spectator: sees the pile and the public data, and has no hand
        player.entity = self.hands.spawn(name=options.name)
        self.order.append(player)
        for _ in range(HAND):
            self._deal(player)
        if len(self.order) == 1:
            self._start_turn()

    def on_leave(self, player: Player) -> None:
        if player not in self.order:
            return
        for card in self._find_cards(player):
            self.deck.insert(0, (card.suit, card.rank))
            card.despawn()
        player.entity.despawn()
        index = self.order.index(player)
        del self.order[index]
        self.turn -= index < self.turn
        self._start_turn()

    # -- playing --------------------------------------------------------------------------------------------

    @command
    def draw(self, player: Player) -> None:
        """Draw a card and end the turn."""
        self._check_turn(player)
        self._deal(player)
        self._play_on(player)

    @command
    def play(self, player: Player, card: int) -> None:
        """Put a card of the hand on the pile and end the turn.

        Args:
            player: the player, who has the turn.
            card: the entity id of the card.
        """
        self._check_turn(player)
        self._put(player, card)
        self._play_on(player)

    def _check_turn(self, player: Player) -> None:
        if player not in self.order:
            raise CommandRefused("you are watching")
        if player is not self.order[self.turn % len(self.order)]:
            raise CommandRefused("it is not your turn")

    def _play_on(self, player: Player) -> None:
        player.data["late"] = 0
        self._end_turn()

    def _put(self, player: Player, id: int) -> None:
        card = next((card for card in self._find_cards(player) if card.id == id), None)
        if card is None:
            raise CommandRefused("this card is not in your hand")
        if card.suit != self.top.suit and card.rank != self.top.rank:
            raise CommandRefused("the card has neither the suit nor the rank of the pile")
        self.deck.insert(0, (self.top.suit, self.top.rank))
        self.top.despawn()
        card.holder, card.channel = 0, EVERYONE
        self.top = card
        self._count(player)
        if player.entity.cards == 0:
            player.entity.score += 1
            self.broadcast(RoundWon(player.entity.id))
            for other in self.order:
                for _ in range(HAND):
                    self._deal(other)

    def _deal(self, player: Player) -> None:
        """Move a card from the deck into a hand; does nothing if the deck is empty."""
        if self.deck:
            suit, rank = self.deck.pop()
            self.cards.spawn(suit=suit, rank=rank, holder=player.entity.id, channel=player.private)
            self._count(player)

    def _put_on_pile(self) -> Row:
        suit, rank = self.deck.pop()
        return self.cards.spawn(suit=suit, rank=rank)

    def _shuffle(self) -> None:
        self.deck = [DECK[index] for index in self.random.permutation(len(DECK))]

    def _find_cards(self, player: Player) -> list[Row]:
        return [card for card in self.cards if card.holder == player.entity.id]

    def _count(self, player: Player) -> None:
        player.entity.cards = len(self._find_cards(player))

    def _end_turn(self) -> None:
        self.turn = (self.turn + 1) % len(self.order)
        self._start_turn()

    def _start_turn(self) -> None:
        """Show which player has the turn, and draw a card for a player that does not play in time."""
        if (timer := self.clock.find(self._draw_late)) is not None:
            timer.cancel()
        for index, player in enumerate(self.order):
            player.entity.has_turn = index == self.turn % len(self.order)
        if self.order:
            self.clock.after(TURN_S, self._draw_late, self.order[self.turn % len(self.order)])

    def _draw_late(self, player: Player) -> None:
        self._deal(player)
        player.data["late"] = player.data.get("late", 0) + 1
        if player.data["late"] == LATE_MAX:
            player.kick(f"you have missed {LATE_MAX} turns")
        self._end_turn()


ROOMS = {"cards": CardTable}
MODES = [Mode("table", Rules(room_type="cards", teams=1, team_size=6, players_min=2, fill_after_s=10.0))]
