"""The settings of recordings: where they are stored, and the bounds of memory and disk."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tickwire.server.setting_types import CallSeconds

MemoryBytes = Annotated[int, Meta(ge=64 * 1024, le=1 << 30)]
DirectoryBytes = Annotated[int, Meta(ge=1 << 20, le=1 << 40)]


class RecordingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bounds of recordings.

    Args:
        directory: the directory of the files; empty disables recordings, and then no room keeps its last seconds. It
            is created if it does not exist. Several shards may share it.
        directory_bytes_max: the most bytes of all files; the oldest ones are removed.
        file_bytes_max: the largest file. A recording that an operator has started ends when it has this size.
        room_bytes_max: the memory for the last seconds of one room; the oldest part is dropped first.
        shard_bytes_max: the same for all rooms of a shard; and the most memory of the recordings that operators have
            started, of which so many run at the same time as fit into it.
        write_timeout_s: how long the write of a file may take. A file that takes longer is given up.
    """

    directory: str = ""
    directory_bytes_max: DirectoryBytes = 256 << 20
    file_bytes_max: MemoryBytes = 16 << 20
    room_bytes_max: MemoryBytes = 2 << 20
    shard_bytes_max: MemoryBytes = 64 << 20
    write_timeout_s: CallSeconds = 10.0
