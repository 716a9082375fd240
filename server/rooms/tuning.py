"""What of a game may be changed while it is played: declared by its room, set by its operators.

    class Pace(Tuning):
        speed: Annotated[float, msgspec.Meta(gt=0, le=50)] = 12.0

    class Arena(Room):
        tunes = Pace                    # self.tuning.speed

Versions are whole documents: what one does not say is as the game declares it. A room has the newest version that is
meant for it: by its labels, and by its place among all rooms. That is made of its id alone, so that who is among the
first 10 % is also among the first 50 %. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from tickwire.server.errors import Malformed

_SHARES = 10_000


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a room may be tuned by: fields with defaults, and with msgspec.Meta for their limits."""


class TuningScope(Protocol):
    """The rooms that a version is meant for."""

    @property
    def percentage(self) -> float: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


class Version(TuningScope, Protocol):
    """One version of all rooms' tuning."""

    @property
    def version(self) -> int: ...
    @property
    def values(self) -> Mapping[str, Mapping[str, Any]]: ...


V = TypeVar("V", bound=TuningScope)


def version_for(versions: Iterable[Version], room_id: str, labels: Mapping[str, str]) -> Version | None:
    """The version that a room has: the first of those that is meant for it.

    Args:
        versions: the newest first.
        labels: of the room, and of where it is.
    """
    return next((version for version in versions if is_for(version, room_id, labels)), None)


def in_force(versions: Iterable[V]) -> list[V]:
    """Return the versions that a room can have, the newest first; for each of the others a newer one is meant for all
    of its rooms.

    Args:
        versions: all of them, the newest first.
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


def is_for(version: TuningScope, room_id: str, labels: Mapping[str, str]) -> bool:
    """Whether a version is meant for a room."""
    share = zlib.crc32(room_id.encode()) % _SHARES
    return version.labels.items() <= labels.items() and share < version.percentage / 100 * _SHARES


def read(kind: type[Tuning], values: Mapping[str, Any], where: str = "") -> Tuning:
    """What a version says of one type of room.

    Raises:
        Malformed: a field is not known, or its value not allowed; in a sentence.
    """
    try:
        return msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as error:
        raise Malformed(f"{where}{error}") from error
