"""The last seconds of one room in memory: segments, each of which begins with a keyframe.

    segments    [K e e e e] [K e e e e] [K e e .....
                 ^ dropped when the second one begins before the oldest tick that is needed

A replay can begin at any keyframe, so a segment is dropped whole. The ring then keeps the declared seconds and at
most one segment more. At the bound of its bytes it drops the oldest segment, and without another one all of it: it
is empty until the next keyframe. Pure.
"""

from __future__ import annotations

from array import array

RecordedFrame = tuple[bytes, int, bool]
"""An encoded frame, its tick, and whether it is a keyframe, with which a replay can begin."""
FRAME_OVERHEAD_BYTES = 45
"""The memory of a frame in addition to its bytes: the object's header, its place in a list, and its tick."""


class _Segment:
    __slots__ = ("frames", "size", "tick", "ticks")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.frames: list[bytes] = []
        self.ticks = array("Q")
        self.size = 0


class RecordingRing:
    """Keeps the newest frames of a recorder. Implements `tickwire.server.recording.sinks.RecordingSink`.

    Args:
        ticks: the ticks that it keeps.
        bytes_max: the most bytes of memory.

    Attributes:
        size: the memory of all frames in bytes.
        segments_dropped: the segments that were dropped because of a bound of bytes.
    """

    __slots__ = ("_bytes_max", "_has_gap", "_segments", "_ticks", "segments_dropped", "size")

    def __init__(self, ticks: int, bytes_max: int) -> None:
        self._ticks = ticks
        self._bytes_max = bytes_max
        self._segments: list[_Segment] = []  # few, so that the first is removed at once
        self._has_gap = False
        self.size = self.segments_dropped = 0

    @property
    def is_empty(self) -> bool:
        """Whether it has no frame: it ignores frames until the next keyframe."""
        return not self._segments

    def write(self, frame: bytes, tick: int, /, *, is_keyframe: bool) -> None:
        """Add a frame, and drop the segments that are too old or do not fit.

        Args:
            frame: an encoded frame of the recording.
            tick: the tick of the room.
            is_keyframe: whether a replay can begin with this frame.
        """
        segments = self._segments
        if is_keyframe:
            if self._has_gap:
                self._clear()
            segments.append(_Segment(tick))
            while len(segments) > 1 and segments[1].tick <= tick - self._ticks:
                self._drop()
        elif not segments:
            return
        newest = segments[-1]
        size = len(frame) + FRAME_OVERHEAD_BYTES
        newest.frames.append(frame)
        newest.ticks.append(tick)
        newest.size += size
        self.size += size
        while self.size > self._bytes_max and segments:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Drop the oldest segment because of a bound of bytes. The ring is not empty."""
        self.segments_dropped += 1
        self._drop()

    def end(self, reason: str, /) -> None:
        """Note that the recorder has stopped: the frames stay until the keyframe of the next recorder."""
        self._has_gap = True

    def frames_since(self, tick: int) -> list[RecordedFrame]:
        """Return the frames from the last keyframe at or before a tick, or from the oldest one."""
        segments = self._segments
        earlier = [segment for segment in segments[1:] if segment.tick <= tick]
        return [
            (frame, frame_tick, at == 0)
            for segment in segments[len(earlier) :]
            for at, (frame, frame_tick) in enumerate(zip(segment.frames, segment.ticks, strict=True))
        ]

    def _clear(self) -> None:
        """Drop all frames: a replay cannot continue after a gap."""
        self._segments.clear()
        self._has_gap, self.size = False, 0

    def _drop(self) -> None:
        self.size -= self._segments.pop(0).size
