"""What is kept of a durable room: its tables, what the game saves beside them, and who was playing.

Pure. A room that is made again from this, on whichever shard, goes on: its players are seated and away, and come back
to their seats with the resume tokens that they have.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import msgspec

from tickwire.schemas.messages import Reply
from tickwire.schemas.payloads import to_plain
from tickwire.server.replication.table import NOBODY, TableState


class SaveData(msgspec.Struct):
    """What a game keeps of a room beside its tables. Subclass it and name the class in `Room.saves`.

        class GardenSave(SaveData):
            version = 2
            planted: int = 0

            @classmethod
            def upgrade(cls, version, saved):
                return {"planted": len(saved["flowers"])}    # from version 1, the only one before

    Attributes:
        version: of the layout; raise it when what was saved before cannot be read any more.
    """

    version: ClassVar[int] = 1

    @classmethod
    def upgrade(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """One step: what was saved as `version`, as `version + 1` would have saved it."""
        raise NotImplementedError(f"{cls.__name__} has no step from version {version}")

    @classmethod
    def read(cls, version: int, saved: dict[str, Any]) -> Self:
        """What was saved, by this version or an older one.

        Raises:
            TooNew: a newer version has saved it.
            msgspec.ValidationError, or whatever `upgrade` raises: it cannot be read.
        """
        return msgspec.convert(cls.upgraded(version, saved), cls, strict=False, str_keys=True)

    @classmethod
    def upgraded(cls, version: int, saved: dict[str, Any]) -> dict[str, Any]:
        """Take all steps from a version to this one.

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
        """Return what was saved and is not declared. After a step to a newer version it is what `upgrade` left out on
        purpose, so there is none."""
        if version != cls.version:
            return {}
        declared = {field.encode_name for field in msgspec.structs.fields(cls)}
        return {name: value for name, value in saved.items() if name not in declared}

    def plain(self) -> dict[str, Any]:
        """A copy of plain values, as a store takes them; nothing in it is the game's own any more."""
        return plain(self)


def plain(value: Any) -> dict[str, Any]:
    """A copy of a struct or dictionary in plain values; raises TypeError where something cannot be one."""
    copied: dict[str, Any] = to_plain(value)
    return copied


class TooNew(Exception):
    """A newer build has saved the room: this one must not touch it."""


class SessionCheckpoint(msgspec.Struct, frozen=True):
    """A session, as far as it must be known to go on elsewhere.

    Args:
        generation, used_generation: of its last connection, and of the token that this was resumed with.
        attempt: of its client's last Hello.
        last_event: the number of its newest event.
        frames: the newest events, those that its client may not have.
        replies: answers to commands.
        opened_us: UTC of the moment when the session was opened, microseconds since 1970.
        seat_changes: how often the session has taken or left a seat. Of two copies of a session, the one with more
            seat changes is the newer.
        forgotten_command_id: the highest command id whose reply is not remembered any more; -1 if there is none.
        events_restored_at: the number of the newest event when the session was last restored; None once a client has
            resumed it. It is right only in a session that moves, and not in one that was saved.
        shard_id: the shard that the session comes from.
        joins: how many seats it has taken.
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


GONE = ("", 0)
"""The place of an entity that a player had and that is gone."""


class SeatCheckpoint(msgspec.Struct, frozen=True):
    """A player in a room.

    Args:
        player_id: who plays; of a guest who came by a ticket, another than the session's own.
        entity, focus: what the game has set: the table and the id of an entity; None for none, GONE for a gone one.
        cell: the grid's cell that the player looks at, as a channel; None for none.
        watched, private: channels.
        data: what the game keeps with the player.
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


class RoomMetadata(msgspec.Struct, frozen=True):
    """What is kept beside the tables, and when those changed last: cheap to look at, and to compare."""

    changed_tick: int
    state: dict[str, Any]
    labels: dict[str, str]
    seats: tuple[SeatCheckpoint, ...]


class RejectedRow(msgspec.Struct, frozen=True):
    """A part of what was saved that does not fit its declaration, and is set aside."""

    path: str
    value: Any
    error: str


class SetAsideData(msgspec.Struct, frozen=True):
    """Stored data that this build does not declare. The world keeps it, and it comes back when a build declares it.

    Args:
        tables: whole tables, by name.
        columns: fields of tables that are declared, by table and field; each a table of this field alone, with the
            rows that are still there.
        fields: of the room's `SaveData`, at the top.
    """

    tables: dict[str, TableState] = {}
    columns: dict[str, dict[str, TableState]] = {}
    fields: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.tables or any(self.columns.values()) or self.fields)

    def describe(self) -> list[str]:
        """Return what is kept aside, in words for the log."""
        tables = [f"{name} ({table.ids.size} rows)" for name, table in self.tables.items()]
        columns = [f"{table}.{field}" for table, fields in self.columns.items() for field in fields]
        return [*tables, *columns, *(f"state.{name}" for name in self.fields)]


class RoomCheckpoint(msgspec.Struct, frozen=True):
    """What is saved of a durable room. Nothing in it changes any more: another thread may read it.

    Args:
        state_error: why `state` did not fit its declaration when it was saved; empty if it did, None if that is not
            known.
        rejected: what has been left out of a saved world, and is to be kept elsewhere.
        aside: what was stored and is not declared.
        attributes, random: of a room that moves: see server/rooms/attributes.py; the state of its random numbers.
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
    aside: SetAsideData = SetAsideData()
    state_error: str | None = None
    rejected: tuple[RejectedRow, ...] = ()
