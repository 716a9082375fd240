"""Moves of players to other rooms that the game has requested with `Player.move_to`.

    requested --end of the tick--> started --seat in the other room--> moved: the seat here is given up, `then` runs
        │                             ├--refused, timeout--> refused: the player keeps its seat, `then` runs
        └-----------------------------┴--the player leaves, the room freezes or is reloaded--> cancelled; `then` runs
                                      └--the room closes, or restarts after an exception--> cancelled

A player has one move at a time. The session requests the seat (server/edge/seat_moves.py). Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from tickwire.server.rooms.containment import RoomIdentity
from tickwire.server.rooms.move_request import MoveOutcome, MoveRefused, MoveRequest
from tickwire.server.rooms.room_methods import check_method


class MovingSeat(Protocol):
    """A seat whose player can be moved."""

    @property
    def player_id(self) -> str:
        """The player."""

    @property
    def is_open(self) -> bool:
        """Whether the player has the seat."""

    def start_move(self, request: MoveRequest) -> Callable[[], object] | None:
        """Have the session request the other seat; it reports the outcome.

        Returns:
            A function that cancels the move; None if the player cannot be moved, because it is disconnected.
        """


class _Move:
    __slots__ = ("cancel", "request", "then")

    def __init__(self, request: MoveRequest, then: str) -> None:
        self.request = request
        self.then = then
        self.cancel: Callable[[], object] | None = None  # None: not started


class WaitingMove(NamedTuple):
    """A move that is not decided yet.

    Args:
        seat: the seat of the player.
        request: the move.
        then: the name of the method that receives the outcome; empty for none.
        is_started: whether the session has requested the other seat.
    """

    seat: MovingSeat
    request: MoveRequest
    then: str
    is_started: bool


class PlayerMoves:
    """The moves of the players of one room.

    Args:
        room: the room.
        deliver: called with the name of the method and the outcome of each move that names a method.

    Attributes:
        has_new: whether moves wait to be started.
    """

    __slots__ = ("_deliver", "_moves", "_refusal", "_room", "has_new")

    def __init__(self, room: RoomIdentity, deliver: Callable[[str, MoveOutcome], None]) -> None:
        self._room = room
        self._deliver = deliver
        self._moves: dict[MovingSeat, _Move] = {}
        self._refusal = ""
        self.has_new = False

    def __len__(self) -> int:
        return len(self._moves)

    def add(self, seat: MovingSeat, request: MoveRequest) -> None:
        """Add a move; see `Player.move_to`."""
        room_type, name = request.room_type, request.name
        if room_type == self._room.room_type and name in ("", getattr(self._room, "name", "")):
            raise ValueError(
                f"move_to: name another {room_type!r} room; without a name the player could be seated in this one"
            )
        then = ""
        if request.then is not None:
            then = check_method("move_to", self._room, request.then, (MoveOutcome(seat.player_id, room_type),))
        if self._refusal:
            raise MoveRefused(f"move_to: {self._refusal}")
        if not seat.is_open:
            raise MoveRefused("move_to: the player has left the room")
        if seat in self._moves:
            raise MoveRefused(f"move_to: player {seat.player_id!r} is moving already")
        self._moves[seat] = _Move(request, then)
        self.has_new = True

    def pending(self) -> list[WaitingMove]:
        """Return the moves that are not decided yet."""
        return [
            WaitingMove(seat, move.request, move.then, move.cancel is not None) for seat, move in self._moves.items()
        ]

    # -- called by the server -------------------------------------------------------------------------------

    def restore(self, waiting: WaitingMove) -> None:
        """Add a move of a replayed room that was requested earlier."""
        move = self._moves[waiting.seat] = _Move(waiting.request, waiting.then)
        if waiting.is_started:  # also if its player has lost the connection since
            move.cancel = _do_nothing
        else:
            self.has_new = True

    def start_new(self) -> None:
        """Start the moves that the game has requested since the last call."""
        self.has_new = False
        for seat, move in list(self._moves.items()):
            if not seat.is_open:
                del self._moves[seat]  # on_join has requested the move, and refused the player or failed
            elif move.cancel is None:
                move.cancel = seat.start_move(move.request)
                if move.cancel is None:
                    self.end(seat, "the player is disconnected")

    def end(self, seat: MovingSeat, refused: str) -> None:
        """Report the outcome of a move to the game. Does nothing if the player has none."""
        move = self._moves.pop(seat, None)
        if move is not None:
            self._report(seat, move, refused)

    def take(self, seat: MovingSeat) -> Callable[[], None] | None:
        """Remove a move that has succeeded.

        Returns:
            A function that reports the outcome to the game; None if the move was cancelled.
        """
        move = self._moves.pop(seat, None)
        return None if move is None else lambda: self._report(seat, move, "")

    def cancel(self, seat: MovingSeat, refused: str) -> None:
        """Cancel the move of a player, if it has one, and report that to the game."""
        move = self._moves.pop(seat, None)
        if move is not None:
            if move.cancel is not None:
                move.cancel()
            self._report(seat, move, refused)

    def allow(self) -> None:
        """Accept moves from now on."""
        self._refusal = ""

    def stop(self, refusal: str, *, reports: bool = False) -> None:
        """Cancel all moves, and refuse new ones with this reason.

        Args:
            refusal: the reason.
            reports: whether the game receives the outcomes.
        """
        self._refusal = refusal
        moves, self._moves, self.has_new = self._moves, {}, False
        for move in moves.values():
            if move.cancel is not None:
                move.cancel()
        for seat, move in moves.items():
            if reports and seat.is_open:
                self._report(seat, move, refusal)

    def _report(self, seat: MovingSeat, move: _Move, refused: str) -> None:
        if move.then:
            request = move.request
            self._deliver(move.then, MoveOutcome(seat.player_id, request.room_type, request.name, refused))


def _do_nothing() -> None:
    pass
