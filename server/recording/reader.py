"""Reads recordings, complete ones and those that a crash has cut off.

A recording of a room is small enough to be held in memory (see `RecordingLimits`); frames are decoded one by one.
With the index at its end a complete recording is opened without decoding its ticks. Otherwise all frames are scanned,
up to the first that is not intact. Pure, except for `Recording.open`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from tickwire.server.recording.entries import TickRecord
from tickwire.server.recording.frames import (
    END,
    HEADER,
    INDEX,
    KEYFRAME,
    MAGIC,
    TICK,
    Frame,
    RecordingDamaged,
    find_last_payload,
    read_frames,
)
from tickwire.server.recording.header import KeyframePlace, RecordingHeader, RecordingIndex, decode_header
from tickwire.server.recording.keyframe import RoomKeyframe
from tickwire.server.recording.keyframe_decoder import decode_keyframe

FILE_BYTES_MAX = 1024 * 1024 * 1024
INDEX_BYTES_MAX = 1024 * 1024
"""The part at the end of a file that is searched for the index: about 12 bytes for each keyframe."""

_decoder = msgspec.msgpack.Decoder(TickRecord)
_index_decoder = msgspec.msgpack.Decoder(RecordingIndex)


class Recording:
    """A recording of a room.

    Args:
        data: the bytes of the file.

    Attributes:
        header: the room and the build.
        keyframes: the intact keyframes, in order; at least one.
        last_tick: the number of the last recorded tick.
        reason: why the recording has ended; None if its end is missing.

    Raises:
        RecordingDamaged: it is not a recording, a newer build has written it, or it lacks an intact keyframe.
    """

    def __init__(self, data: bytes) -> None:
        if not data.startswith(MAGIC):
            raise RecordingDamaged("the file is not a recording of a room")
        self._data = data
        first = next(read_frames(data), None)
        if first is None or first.kind != HEADER:
            raise RecordingDamaged("the header is damaged")
        self.header: RecordingHeader = decode_header(first.payload)
        self._first = first.end
        self.keyframes: tuple[KeyframePlace, ...] = ()
        self.last_tick = 0
        self.reason: str | None = None
        if not self._read_index():
            self._scan()
        if not self.keyframes:
            raise RecordingDamaged("the recording has no intact keyframe")

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Read a file.

        Raises:
            RecordingDamaged: see `Recording`; or the file cannot be read or is too large.
        """
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise RecordingDamaged(f"{path}: the file has more than {FILE_BYTES_MAX} bytes")
            return cls(path.read_bytes())
        except OSError as error:
            raise RecordingDamaged(f"{path}: {error.strerror or error}") from error

    @property
    def is_complete(self) -> bool:
        """Whether the recording has its end."""
        return self.reason is not None

    @property
    def first_tick(self) -> int:
        """The last tick before the first keyframe."""
        return self.keyframes[0].tick

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return len(self._data)

    def find_keyframe(self, tick: int) -> int:
        """Return the number of the last keyframe that is not after a tick; of the first one if all are."""
        return max((number for number, place in enumerate(self.keyframes) if place.tick <= tick), default=0)

    def read_keyframe(self, number: int) -> RoomKeyframe:
        """Return a keyframe.

        Raises:
            RecordingDamaged: it cannot be decoded.
        """
        return decode_keyframe(next(self._frames_from(number)).payload)

    def read_ticks(self, number: int = 0) -> Iterator[TickRecord | RoomKeyframe]:
        """Yield the ticks after a keyframe in order, and the keyframes between them.

        Args:
            number: the number of the keyframe.

        Raises:
            RecordingDamaged: an intact frame cannot be decoded.
        """
        frames = self._frames_from(number)
        next(frames)
        for frame in frames:
            if frame.kind == TICK:
                yield _decode_tick(frame.payload)
            elif frame.kind == KEYFRAME:
                yield decode_keyframe(frame.payload)

    def _frames_from(self, number: int) -> Iterator[Frame]:
        place = self.keyframes[number]
        frames = read_frames(self._data, place.offset)
        for frame in frames:
            if frame.kind == KEYFRAME:
                yield frame
                break
        else:
            raise RecordingDamaged(f"the keyframe at byte {place.offset} is damaged")
        yield from frames

    def _read_index(self) -> bool:
        """Read the index, and return whether there is one. Each of its keyframes must begin a block."""
        payload = find_last_payload(self._data, INDEX, INDEX_BYTES_MAX)
        if payload is None:
            return False
        index = _decode_index(payload)
        if any(not self._first <= place.offset < len(self._data) for place in index.keyframes):
            return False
        self.keyframes, self.last_tick, self.reason = index.keyframes, index.last_tick, index.reason
        return bool(index.keyframes)

    def _scan(self) -> None:
        """Find the keyframes and the end by reading all frames."""
        keyframes: list[KeyframePlace] = []
        for frame in read_frames(self._data, self._first):
            match frame.kind:
                case _ if frame.kind == KEYFRAME:
                    self.last_tick = decode_keyframe(frame.payload).tick
                    keyframes.append(KeyframePlace(self.last_tick, frame.offset))
                case _ if frame.kind == TICK:
                    self.last_tick = _decode_tick(frame.payload).tick
                case _ if frame.kind == END:
                    self.reason = frame.payload.decode(errors="replace")
        self.keyframes = tuple(keyframes)


def _decode_tick(payload: bytes) -> TickRecord:
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingDamaged(f"a tick cannot be decoded: {error}") from error


def _decode_index(payload: bytes) -> RecordingIndex:
    try:
        return _index_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingDamaged(f"the index cannot be decoded: {error}") from error
