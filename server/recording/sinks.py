"""Receivers of the frames of a recorder: the port, and the one that writes a bounded file.

    frames --until BLOCK_BYTES--> block --compressed--> file
    a keyframe begins a new block, so that the replay can start there

Pure: the file is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from tickwire.server.recording.frames import END, INDEX, encode_block, encode_frame
from tickwire.server.recording.header import KeyframePlace, RecordingIndex

BLOCK_BYTES = 64 * 1024
"""The bytes that are compressed at once: about 1 ms at zlib's level 3, which is short for a tick loop."""


class RecordingSink(Protocol):
    """Receives the frames of a recorder. Begins with a keyframe."""

    def write(self, frame: bytes, tick: int, /, *, is_keyframe: bool) -> None:
        """Receive a frame.

        Args:
            frame: a keyframe, or a tick with everything that entered the room since the frame before.
            tick: the number of the last tick in the recording.
            is_keyframe: whether the frame is a keyframe.
        """
        ...

    def end(self, reason: str, /) -> None:
        """Handle the end of the recording: the room has ended, or the recorder was stopped. Called once."""
        ...


class RecordingLimits(msgspec.Struct, frozen=True):
    """The limits of a recording file; it ends when it reaches one of them.

    Args:
        bytes_max: the size of the file in bytes.
        ticks_max: the number of ticks.
    """

    bytes_max: int = 256 * 1024 * 1024
    ticks_max: int = 10_000_000


class FileSink:
    """Writes a recording to a file, in compressed blocks. A write error ends the recording.

    Args:
        write: appends bytes to the file.
        header: the beginning of the recording, of `RoomRecorder.header`.
        limits: the limits of the file.
        on_ended: called with the reason when the recording has ended.

    Attributes:
        reason: why the recording has ended; None before that.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        header: bytes,
        limits: RecordingLimits = RecordingLimits(),  # noqa: B008 - immutable
        on_ended: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self.reason: str | None = None
        self._write = write
        self._limits = limits
        self._on_ended = on_ended
        self._size = self._ticks = self._last_tick = 0
        self._waiting = bytearray()
        self._keyframes: list[KeyframePlace] = []
        self._append(header)

    @property
    def size(self) -> int:
        """The number of bytes so far, with those that are not compressed yet."""
        return self._size + len(self._waiting)

    def write(self, frame: bytes, tick: int, /, *, is_keyframe: bool) -> None:
        """See `RecordingSink.write`."""
        if self.reason is not None:
            return
        if self.size + len(frame) > self._limits.bytes_max or self._ticks >= self._limits.ticks_max:
            is_full = self._ticks < self._limits.ticks_max
            self.end(f"the limit of {self._limits.bytes_max} bytes" if is_full else "the limit of ticks")
            return
        if is_keyframe:
            self._flush()
            self._keyframes.append(KeyframePlace(tick, self._size))
        else:
            self._ticks += 1
        self._last_tick = tick
        self._waiting += frame
        if is_keyframe or len(self._waiting) >= BLOCK_BYTES:
            self._flush()

    def end(self, reason: str, /) -> None:
        """See `RecordingSink.end`. Writes the reason and the index. Idempotent."""
        if self.reason is not None:
            return
        self._flush()
        if self.reason is not None:
            return  # by a write error
        index = RecordingIndex(tuple(self._keyframes), self._last_tick, reason)
        self._append(encode_frame(END, reason.encode()) + encode_frame(INDEX, msgspec.msgpack.encode(index)))
        if self.reason is None:
            self._stop(reason)

    def _stop(self, reason: str) -> None:
        self.reason = reason
        self._on_ended(reason)

    def _flush(self) -> None:
        if self._waiting:
            block = encode_block(bytes(self._waiting))
            self._waiting.clear()
            self._append(block)

    def _append(self, data: bytes) -> None:
        try:
            self._write(data)
        except OSError as error:
            if self.reason is None:
                self._stop(f"the file cannot be written: {error.strerror or error}")
        self._size += len(data)


def pack_frames(header: bytes, frames: Iterable[tuple[bytes, int, bool]], reason: str) -> bytes:
    """Return a complete recording of some frames.

    Args:
        header: the beginning of the recording, of `RoomRecorder.header`.
        frames: each frame with its tick and whether it is a keyframe, which the first one must be.
        reason: why the recording has ended.
    """
    packed = bytearray()
    sink = FileSink(packed.extend, header)
    for frame, tick, is_keyframe in frames:
        sink.write(frame, tick, is_keyframe=is_keyframe)
    sink.end(reason)
    return bytes(packed)
