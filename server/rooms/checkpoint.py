"""The checkpoint of a room: its tables, the game's own saved state, and its players with their sessions.

Any shard can restore a room from its checkpoint. The players are then seated and disconnected, and resume with the
tokens that they have. Pure.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import msgspec

from tickwire.schemas.messages import Reply
from tickwire.schemas.payloads import to_plain
from tickwire.server.replication.table import NOBODY
from tickwire.server.replication.table_state import TableState


class SaveData(msgspec.Struct):
    """The state of a room that is saved in addition to its tables. Subclass it and set the class in `Room.save_type`.

        class GardenSave(SaveData):
            version = 2
            planted: int = 0

            @classmethod
            def upgrade(cls, version, saved):
                return {"planted": len(saved["flowers"])}    # from version 1, the only one before

    Attributes:
        version: the version of the layout. Increase it when earlier saves can no longer be read without `upgrade`.
    """

    version: ClassVar[int] = 1

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """Convert state that was saved as `version` into the layout of `version + 1`, and return it."""
        raise NotImplementedError(f"{cls.__name__}.upgrade has no step from version {version}")

    @classmethod
    def read(cls, version: int, saved: dict[str, Any]) -> Self:
        """Return state that was saved by this version or an older one.

        Raises:
            TooNew: a newer version has saved it.
            msgspec.ValidationError, or any exception of `upgrade`: it cannot be read.
        """
        return msgspec.convert(cls.apply_upgrades(version, saved), cls, strict=False, str_keys=True)

    @classmethod
    def apply_upgrades(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """Convert saved state step by step from a version to this one, and return it.

        Raises:
            TooNew: a newer version has saved it.
        """
        if version > cls.version:
            raise TooNew(f"{cls.__name__} was saved as version {version}; this build reads up to {cls.version}")
        for step in range(version, cls.version):
            saved = cls.upgrade(step, saved)
        return saved

    @classmethod
    def unknown_fields(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """Return the saved fields that this class does not declare.

        Empty if the state was saved by an older version: `upgrade` then left out the other fields on purpose.
        """
        if version != cls.version:
            return {}
        declared = {field.encode_name for field in msgspec.structs.fields(cls)}
        return {name: value for name, value in saved.items() if name not in declared}

    def to_plain_dict(self) -> dict[str, Any]:
        """Return a copy in plain values that a store accepts and that shares nothing with the game."""
        return to_plain_dict(self)


def to_plain_dict(value: Any) -> dict[str, Any]:
    """Return a copy of a struct or dictionary in plain values.

    Raises:
        TypeError: a value cannot be converted.
    """
    copied: dict[str, Any] = to_plain(value)
    return copied


class TooNew(Exception):
    """A newer build has saved the room; this build must not change it."""


class SessionCheckpoint(msgspec.Struct, frozen=True):
    """The part of a session from which another shard can restore it.

    Args:
        generation: the generation of the last connection.
        used_generation: the generation of the token that this connection was resumed with.
        attempt: the attempt number of the client's last Hello.
        last_event: the number of the newest event.
        frames: the newest events, which the client may not have received.
        replies: the stored replies to commands.
        opened_us: when the session was opened: UTC, microseconds since 1970.
        seat_changes: the number of seats that the session has taken or left. Of two copies of a session, the one with
            more seat changes is newer.
        forgotten_command_id: the highest command id whose reply was discarded; -1 without one.
        events_restored_at: the number of the newest event when the session was last restored; None once a client has
            resumed it. Valid only in a session that moves, not in one that was saved.
        shard_id: the shard that the session comes from.
        joins: the number of seats that the session has taken.
        left_room_id, left_reason: the last room that has ended a seat of the session, and the reason.
        token_expires_at_s, token_issued_at_s: of the player's token, UTC, seconds since 1970; 0 for a guest.
        token_family_id: the login that the token belongs to; empty for a guest.
    """

    session_id: str
    player_id: str
    is_guest: bool
    schema_version: int
    generation: int = 0
    used_generation: int = 0
    attempt: int = 0
    last_event: int = 0
    frames: tuple[bytes, ...] = ()
    replies: tuple[Reply, ...] = ()
    opened_us: int = 0
    seat_changes: int = 0
    forgotten_command_id: int = -1
    events_restored_at: int | None = None
    shard_id: str = ""
    joins: int = 0
    left_room_id: str = ""
    left_reason: str = ""
    token_expires_at_s: float = 0.0
    token_issued_at_s: float = 0.0
    token_family_id: str = ""


GONE = ("", 0)
"""The reference to a player's entity that is despawned."""


class SeatCheckpoint(msgspec.Struct, frozen=True):
    """A player in a room.

    Args:
        player_id: the id of the player; a guest with a ticket has another id here than its session.
        entity, focus: table and id of the entities that the game has set; None without one, GONE if despawned.
        cell: the grid cell that the player looks at, as a channel; None without one.
        watched: the channels that the player is subscribed to.
        private: the player's private channel; None if it was never used.
        data: the game's own data about the player.
        limits: the state of the player's command limits; see server/rooms/command_limits.py.
    """

    player_id: str
    session: SessionCheckpoint
    entity: tuple[str, int] | None = None
    focus: tuple[str, int] | None = None
    cell: int | None = None
    watched: tuple[int, ...] = ()
    private: int | None = None
    team: int = 0
    skill: float = 0.0
    data: dict[str, Any] = {}
    limits: dict[str, tuple[float, int]] = {}


class TimerCheckpoint(msgspec.Struct, frozen=True):
    """A timer of a room's clock.

    Args:
        number: the number of the timer in its room.
        method: the name of the method that it calls.
        arguments: the encoded arguments; see server/rooms/value_codec.py.
        due: the time of the next run, in ticks.
        interval: the ticks between two runs; 0 for a call that runs once.
    """

    number: int
    method: str
    arguments: tuple[bytes, ...] = ()
    due: float = 0.0
    interval: float = 0.0


class ClockCheckpoint(msgspec.Struct, frozen=True):
    """The timers of a room, in the order of their runs, and the tick rate in which their times are counted."""

    tick_rate_hz: float
    timers: tuple[TimerCheckpoint, ...] = ()


class TransactionCheckpoint(msgspec.Struct, frozen=True):
    """A transaction that a room has started, and that is not decided yet.

    Args:
        key: the idempotency key.
        moves: player, item and amount of each change.
        reply: the encoded reply.
        then: the name of the method to call with the outcome; empty for none.
    """

    key: str
    moves: tuple[tuple[str, str, int], ...]
    reply: bytes
    then: str = ""


class RoomMetadata(msgspec.Struct, frozen=True):
    """The part of a checkpoint outside of tables, with the last tick that changed the tables; cheap to compare."""

    changed_tick: int
    state: dict[str, Any]
    labels: dict[str, str]
    seats: tuple[SeatCheckpoint, ...]
    clock: ClockCheckpoint | None = None
    transactions: tuple[TransactionCheckpoint, ...] = ()


class RejectedRow(msgspec.Struct, frozen=True):
    """A saved value that does not fit its declaration and is set aside, with the error."""

    path: str
    value: Any
    error: str


class SetAsideData(msgspec.Struct, frozen=True):
    """Stored data that this build does not declare. It stays stored, for a later build that declares it again.

    Args:
        tables: whole tables, by name.
        columns: fields of declared tables, by table and field. Each is a table with this field only and the rows that
            still exist.
        fields: top-level fields of the room's `SaveData`.
    """

    tables: dict[str, TableState] = {}
    columns: dict[str, dict[str, TableState]] = {}
    fields: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.tables or any(self.columns.values()) or self.fields)

    def describe(self) -> list[str]:
        """Return the names of the data that is set aside, for the log."""
        tables = [f"{name} ({table.ids.size} rows)" for name, table in self.tables.items()]
        columns = [f"{table}.{field}" for table, fields in self.columns.items() for field in fields]
        return [*tables, *columns, *(f"state.{name}" for name in self.fields)]


class RoomCheckpoint(msgspec.Struct, frozen=True):
    """The saved state of a room. Immutable: another thread may read it.

    Args:
        state_error: why `state` did not fit its declaration when it was saved; empty if it did, None if unknown.
        rejected: the values that were removed from the saved state, to be stored in the quarantine.
        clock: the timers of the room; None in a save of a build without timers.
        transactions: transactions that the room has started, and that are not decided yet.
        set_aside: stored data that this build does not declare.
        attributes: the copied attributes of a room that moves; see server/rooms/attributes.py.
        random: the state of the random number generator of a room that moves.
    """

    tick: int
    next_entity_id: int
    tables: dict[str, TableState]
    state: dict[str, Any]
    state_version: int = 1
    next_channel: int = NOBODY - 1
    labels: dict[str, str] = {}
    seats: tuple[SeatCheckpoint, ...] = ()
    attributes: dict[str, bytes] = {}
    random: dict[str, Any] = {}
    set_aside: SetAsideData = SetAsideData()
    state_error: str | None = None
    rejected: tuple[RejectedRow, ...] = ()
    clock: ClockCheckpoint | None = None
    transactions: tuple[TransactionCheckpoint, ...] = ()
