"""The player in a room, as the game sees it: identity, entity, channels, what it owns, and events to its client.

A player refers to its seat and room only through the functions in `PlayerCallbacks`, so this module imports neither.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tickwire.schemas.event_frames import EventFrame
from tickwire.server.replication.table import EVERYONE, NOBODY, Row
from tickwire.server.rooms.event_types import Event, encode
from tickwire.server.rooms.move_request import MoveOutcome, MoveRequest, create_move_request
from tickwire.server.rooms.reasons import to_reason
from tickwire.server.rooms.transactions import RecordReads, RecordVersion


def _discard_event(frame: EventFrame) -> None:
    pass


def _do_nothing() -> None:
    pass


def _no_channel() -> int:
    return NOBODY


def _ignore_kick(reason: str) -> None:
    pass


def _ignore_move(request: MoveRequest) -> None:
    pass


class NoEntity(LookupError):
    """The game has used `player.entity` of a player without an entity."""


class PlayerCallbacks(NamedTuple):
    """The functions through which a player reaches its seat and room. The defaults do nothing.

    Args:
        send: queue an event for the client.
        interest_changed: the game has changed the player's channels, entity or focus.
        open_channel: open a channel in the room and return its number.
        kick: remove the player from the room with this reason.
        move: move the player to another room.
    """

    send: Callable[[EventFrame], None] = _discard_event
    interest_changed: Callable[[], None] = _do_nothing
    open_channel: Callable[[], int] = _no_channel
    kick: Callable[[str], None] = _ignore_kick
    move: Callable[[MoveRequest], None] = _ignore_move


class PlayerState(NamedTuple):
    """The initial state of a player; see the attributes of `Player`. Without `events`, any event can be sent."""

    team: int = 0
    skill: float = 0.0
    record: RecordVersion | None = None
    watched: frozenset[int] = frozenset((EVERYONE,))
    private: int | None = None
    data: dict[str, Any] | None = None
    events: tuple[type[Event], ...] | None = None


class Player:
    """A player who has a seat in the room.

    Attributes:
        id: the player's id. A guest has one too, which is valid for as long as the session exists.
        is_connected: whether the client is connected; a disconnected one may resume.
        data: the game's own data about the player, as plain values; saved and moved with the room. A game cannot set
            other attributes of a player: a save or a move would lose them.
        watched: the channels that the player is subscribed to, not including those of the room's grid.
        team, skill: the team in a match, from 1, and the skill that the player was matched with; 0 without teams.
    """

    __slots__ = (
        "__weakref__",
        "_entity",
        "_events",
        "_focus",
        "_interest_changed",
        "_kick",
        "_lag_ticks",
        "_move",
        "_open_channel",
        "_private",
        "_record",
        "_record_reads",
        "_send",
        "data",
        "id",
        "is_connected",
        "skill",
        "team",
        "watched",
    )

    def __init__(
        self,
        id: str,
        callbacks: PlayerCallbacks = PlayerCallbacks(),  # noqa: B008 - immutable
        state: PlayerState = PlayerState(),  # noqa: B008 - immutable
        record_reads: RecordReads | None = None,
    ) -> None:
        self.id = id
        self.team = state.team
        self.skill = state.skill
        self.is_connected = True
        self.data: dict[str, Any] = {} if state.data is None else state.data
        self._record = state.record
        self._record_reads = record_reads or RecordReads()
        self.watched: frozenset[int] = state.watched
        self._entity: Row | None = None
        self._focus: Row | None = None
        self._lag_ticks: int | None = None  # of the newest input; only in rooms with a history
        self._private = state.private
        self._events = state.events
        self._send, self._interest_changed, self._open_channel, self._kick, self._move = callbacks

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            object.__setattr__(self, name, value)
        except AttributeError:
            raise AttributeError(f"player.{name}: a player has no such attribute; keep it in player.data") from None

    def release(self) -> None:
        """Detach a player who has left from its seat and room, so that no reference cycle is left."""
        self._send, self._interest_changed, self._open_channel, self._kick, self._move = PlayerCallbacks()

    @property
    def record(self) -> RecordVersion:
        """The player's items and the game's profile of the player, as this room has last read or written them.

        A decision of `on_command` that reads the record is committed only if that version is still the newest.
        """
        if self._record is None:
            self._record = RecordVersion()
        self._record_reads.add(self.id, self._record.version)
        return self._record

    @record.setter
    def record(self, record: RecordVersion) -> None:
        self._record = record

    @property
    def holdings(self) -> Mapping[str, int]:
        """The number of each item that the player owns, as far as this room knows. Only a transaction changes it."""
        return self.record.holdings

    @property
    def profile(self) -> Mapping[str, Any]:
        """The game's profile of the player. Only a transaction changes it."""
        return self.record.profile

    @property
    def entity(self) -> Row:
        """The player's own entity; `Joined` carries its id. Assign None to remove it from the player.

        Raises:
            NoEntity: the game has set none, or the tick in which it was despawned is over; see `find_entity`.
        """
        entity = self._entity
        if entity is None or not entity.exists:
            reason = "the game has not set one" if entity is None else "it was despawned"
            raise NoEntity(f"player {self.id!r} has no entity: {reason}; player.find_entity() then returns None")
        return entity

    @entity.setter
    def entity(self, entity: Row | None) -> None:
        self._entity = _row("entity", entity)
        self._interest_changed()

    def find_entity(self) -> Row | None:
        """Return the player's own entity; None without one, and after the tick in which it was despawned."""
        return _existing(self._entity)

    @property
    def focus(self) -> Row | None:
        """The entity from which the player looks at the room's grid: its own, unless the game sets another.

        None without one, and once it is despawned; the player then keeps looking at the last cell of its focus.
        """
        return _existing(self.own_focus)

    @focus.setter
    def focus(self, focus: Row | None) -> None:
        self._focus = _row("focus", focus)
        self._interest_changed()

    @property
    def assigned(self) -> tuple[Row | None, Row | None]:
        """The entity and the focus that the game has set; either may be despawned."""
        return self._entity, self._focus

    @property
    def own_focus(self) -> Row | None:
        """The focus that the game has set, or else the entity; it may be despawned."""
        return self._entity if self._focus is None else self._focus

    @property
    def private(self) -> int:
        """A channel that only this player is subscribed to; opened on first use, closed when the player leaves."""
        if self._private is None:
            self._private = self._open_channel()
            self.watch(self._private)
        return self._private

    @property
    def opened(self) -> int | None:
        """The private channel, or None if it was never used."""
        return self._private

    def watch(self, channel: int) -> None:
        """Subscribe the player to a channel, from the next tick on. Idempotent."""
        self.watched |= {channel}
        self._interest_changed()

    def unwatch(self, channel: int) -> None:
        """Unsubscribe the player from a channel; its client drops the entities with the next tick. Idempotent."""
        self.watched -= {channel}
        self._interest_changed()

    def send(self, event: Event | str, payload: Any = None) -> None:
        """Send an event to the player's client: reliable, in order, together with the state of this tick.

        Args:
            event: the event, of a class in `Room.events`; or a name, for a payload without a declared type.
            payload: with a name: any value that msgpack can hold.

        Raises:
            TypeError: the room's `events` does not contain the event's class.
        """
        self._send(encode(event, payload, self._events))

    def kick(self, reason: str) -> None:
        """Remove the player from the room at the end of this tick; between two ticks, of the next one.

        Its client receives the events that were sent to it and then the reason; `on_leave` runs. The session stays,
        and the player may join again: raise CommandRefused in `on_join` to prevent that. Idempotent.

        Args:
            reason: the reason, for the player. It is truncated to 1,000 characters.

        Raises:
            TypeError, ValueError: the reason is not a string, or it is empty.
        """
        self._kick(to_reason(reason))

    def move_to(
        self,
        room_type: str,
        *,
        name: str = "",
        options: Mapping[str, Any] | None = None,
        reason: str = "",
        then: Callable[[MoveOutcome], object] | None = None,
    ) -> None:
        """Move the player to another room, as if its client joined that room, after the end of this tick.

            player.move_to("battle", name=self.battle, options={"team": 2}, then=self.moved)

        The seat in the other room is taken or reserved first; if that fails, the player stays here and `then`
        receives the reason. Otherwise the client receives the reason of the move and enters the other room, and
        `on_leave` runs here. A room on another shard runs `on_join` when the client arrives there. A move is
        cancelled if the player leaves, or if this room closes or moves to another shard.

        Args:
            room_type: the type of the other room. A room of the same type needs a name.
            name: exactly the room of this name, which is created if it does not exist; empty for any room.
            options: the options for the other room's `on_join`: plain values of at most 1,024 bytes.
            reason: the reason for the player, truncated to 1,000 characters; empty for a general one.
            then: a method of this room that runs between two ticks with the MoveOutcome.

        Raises:
            TypeError, ValueError: an argument is invalid, or the player could be moved to this room.
            MoveRefused: the player is moving already, or the room moves to another shard or has ended.
        """
        self._move(create_move_request(room_type, name, options, reason, then))


def _row(name: str, value: Any) -> Row | None:
    if value is None or isinstance(value, Row):
        return value
    raise TypeError(f"player.{name} must be a Row or None, not {type(value).__name__}")


def _existing(row: Row | None) -> Row | None:
    return row if row is not None and row.exists else None
