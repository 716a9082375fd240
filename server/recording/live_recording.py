"""A recording of the next seconds of a room, which an operator has started.

It ends with its last tick, at the bound of its bytes, or with its room. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tickwire.server.recording.ring import FRAME_OVERHEAD_BYTES, RecordedFrame


class LiveRecording:
    """Collects the frames of a recorder. Implements `tickwire.server.recording.sinks.RecordingSink`.

    Args:
        name: the name of the recording.
        last_tick: the last tick of the recording.
        bytes_max: the most bytes of memory.
        on_complete: called once, when the recording is complete.

    Attributes:
        header: the header of the recorder.
        frames: the frames so far.
        size: their memory in bytes.
        reason: why it has ended; empty before that.
        until_s: when it must end, even if the room does not tick.
    """

    __slots__ = ("_bytes_max", "_last_tick", "_on_complete", "frames", "header", "name", "reason", "size", "until_s")

    def __init__(
        self, name: str, last_tick: int, bytes_max: int, on_complete: Callable[[LiveRecording], None]
    ) -> None:
        self.name = name
        self.header = b""
        self.frames: list[RecordedFrame] = []
        self.size = 0
        self.reason = ""
        self.until_s = math.inf
        self._last_tick = last_tick
        self._bytes_max = bytes_max
        self._on_complete = on_complete

    def write(self, frame: bytes, tick: int, /, *, is_keyframe: bool) -> None:
        """Add a frame, and end the recording with its last tick, or before the frame if it does not fit."""
        if self.reason or (not self.frames and not is_keyframe):
            return
        size = len(frame) + FRAME_OVERHEAD_BYTES
        if self.size + size > self._bytes_max:
            self.end("the recording has reached its largest size")
            return
        self.frames.append((frame, tick, is_keyframe))
        self.size += size
        if tick >= self._last_tick and not is_keyframe:
            self.end("the recording is complete")

    def end(self, reason: str, /) -> None:
        """End the recording. Idempotent."""
        if not self.reason:
            self.reason = reason
            self._on_complete(self)
