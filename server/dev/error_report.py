"""The exceptions of a game's code as text for the terminal of `tickwire dev`, with the lines of the game only."""

from __future__ import annotations

from tickwire.schemas.terminal_text import escape_controls
from tickwire.server.rooms.recent_errors import RoomError


def format_room_error(error: RoomError) -> str:
    """Return an exception as a block of lines.

    arena r7: on_input raised an exception in tick 812
        /home/ann/game/arena.py:41 in on_input: player.entity.x /= input.dx
      ZeroDivisionError: float division by zero
      player: ann   arguments: <Player 'ann'>, Move(dx=0)
      the room closes
    """
    repeated = f", {error.count} times so far" if error.count > 1 else ""
    player = [f"player: {error.player_id}"] if error.player_id else []
    arguments = [f"arguments: {', '.join(error.arguments)}"] if error.arguments else []
    lines = [
        f"{error.room_type} {error.room_id}: {error.hook} raised an exception in tick {error.tick}{repeated}",
        *(f"    {frame}" for frame in error.frames),
        f"  {error.message}",
        *([f"  {'   '.join(player + arguments)}"] if player or arguments else []),
        f"  {error.consequence}",
    ]
    return "\n".join(escape_controls(line) for line in lines)


def print_room_error(error: RoomError) -> None:
    """Print an exception as a block of its own."""
    print(f"\n{format_room_error(error)}\n", flush=True)
