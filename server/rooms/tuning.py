"""Tuning values: declared by a room class, and changed by operators while rooms run.

    class Pace(Tuning):
        speed: Annotated[float, msgspec.Meta(gt=0, le=50)] = 12.0

    class Arena(Room):
        tuning_type = Pace                    # self.tuning.speed

A version is a complete document: values that it does not contain have the defaults of the game. A room has the newest
version that applies to it by its labels and by a percentage of all rooms. The percentage depends on the room's id
only, so that a room among the first 10 % is also among the first 50 %. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from tickwire.server.errors import Malformed

_SHARES = 10_000


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tuning values of a room class: fields with defaults, and with msgspec.Meta for their limits."""


class TuningScope(Protocol):
    """The rooms that a version applies to."""

    @property
    def percentage(self) -> float:
        """The share of rooms, in percent."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that a room must have."""


class Version(TuningScope, Protocol):
    """One version of the tuning values of all room types."""

    @property
    def version(self) -> int:
        """The number of the version, from 1."""

    @property
    def values(self) -> Mapping[str, Mapping[str, Any]]:
        """The values by room type and field."""


V = TypeVar("V", bound=TuningScope)


def find_version(versions: Iterable[Version], room_id: str, labels: Mapping[str, str]) -> Version | None:
    """Return the first version that applies to a room, or None.

    Args:
        versions: the versions, the newest first.
        room_id: the id of the room.
        labels: the labels of the room and of its shard.
    """
    return next((version for version in versions if applies_to(version, room_id, labels)), None)


def find_active(versions: Iterable[V]) -> list[V]:
    """Return the versions that a room can have, the newest first.

    For each of the other versions, a newer one applies to all of its rooms.

    Args:
        versions: all versions, the newest first.
    """
    found: list[V] = []
    for version in versions:
        is_superseded = any(
            newer.labels.items() <= version.labels.items() and newer.percentage >= version.percentage
            for newer in found
        )
        if version.percentage > 0 and not is_superseded:
            found.append(version)
    return found


def applies_to(version: TuningScope, room_id: str, labels: Mapping[str, str]) -> bool:
    """Return whether a version applies to a room."""
    share = zlib.crc32(room_id.encode()) % _SHARES
    return version.labels.items() <= labels.items() and share < version.percentage / 100 * _SHARES


def parse_tuning(kind: type[Tuning], values: Mapping[str, Any], where: str = "") -> Tuning:
    """Return the tuning values of one room type in a version.

    Args:
        kind: the tuning class of the room type.
        values: the values of the version.
        where: a prefix for the error message.

    Raises:
        Malformed: a field is unknown, or its value is not allowed; the message names it.
    """
    try:
        return msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as error:
        raise Malformed(f"{where}{error}") from error
