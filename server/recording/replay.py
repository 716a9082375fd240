"""Replays a recording: the same entries at the same places, tick by tick, without sockets and without time.

    recording --seek: from the nearest keyframe--> at a tick --step--> at the next tick ... --> ended

After each tick the checksums of the state are compared with the recorded ones. Only parts whose declaration is the
same in both builds are compared. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tickwire.schemas.errors import WireError
from tickwire.server.recording.checksum import StateChecksums, find_differences
from tickwire.server.recording.divergence import Divergence, StateDifference, find_difference
from tickwire.server.recording.entries import Entry, FailureEntry, InputEntry, TickRecord, text_of
from tickwire.server.recording.entry_player import EntryPlayer
from tickwire.server.recording.frames import RecordingDamaged
from tickwire.server.recording.header import describe_schema
from tickwire.server.recording.keyframe import RoomKeyframe
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay_session import ReplayedEvent
from tickwire.server.recording.room_builder import build_room
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime

_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, WireError)
"""The exceptions that an entry with invalid content causes outside of the game's code, which is contained."""


class ReplayedTick(msgspec.Struct, frozen=True):
    """One step of a replay.

    Args:
        tick: the number of the tick, or of the last one if none ran.
        ran: whether a tick ran.
        entries, inputs: as recorded.
        events: the events that the room has sent.
        failures: the exceptions of the game's hooks in the replayed tick.
        divergence: how the state differs from the recording; None if it does not.
        recorded_failure: the exception with which the recorded tick has failed; None if it has not.
    """

    tick: int
    ran: bool
    entries: tuple[Entry, ...]
    inputs: tuple[InputEntry, ...]
    events: tuple[ReplayedEvent, ...]
    failures: tuple[FailureEntry, ...] = ()
    divergence: Divergence | None = None
    recorded_failure: FailureEntry | None = None


class ReplayReport(msgspec.Struct, frozen=True):
    """The result of `Replay.verify`.

    Args:
        ticks: the number of ticks that were replayed.
        first_tick, last_tick: the ticks of the recording.
        divergence: the first difference; None if all checksums are equal.
        failure: the exception with which the recorded room has failed, as has the replay; None without one.
        reason: why the recording has ended; None if its end is missing.
        lost: the attributes of the room that a keyframe cannot hold.
        changed_tables: the tables whose declaration has changed; their checksums were not compared.
        damaged_after: the tick after which the file is damaged; None if all recorded ticks could be read.
    """

    ticks: int
    first_tick: int
    last_tick: int
    divergence: Divergence | None = None
    failure: FailureEntry | None = None
    reason: str | None = None
    lost: tuple[str, ...] = ()
    changed_tables: tuple[str, ...] = ()
    damaged_after: int | None = None

    @property
    def is_equal(self) -> bool:
        """Whether all ticks could be read and no checksum differs."""
        return self.divergence is None and self.damaged_after is None


class Replay:
    """Replays one recording.

    Args:
        recording: the recording.
        room_class: the class of the room; it may be of a later build.

    Attributes:
        runtime: the room at the present place.
        keyframe: the newest keyframe before the present place.
        error: the last exception of a hook in a tick; None without one.
        changed_tables: the tables whose declaration differs from that in the recording.

    Raises:
        RecordingDamaged: a keyframe cannot be decoded.
        ReplayFailed: the room cannot be built with the class.
    """

    def __init__(self, recording: Recording, room_class: type[Room]) -> None:
        self.recording = recording
        schema = describe_schema(room_class)
        recorded = recording.header.schema
        self.changed_tables = tuple(name for name in recorded if recorded[name] != schema.get(name))
        self._room_class = room_class
        self.runtime: RoomRuntime
        self.keyframe: RoomKeyframe
        self.error: BaseException | None = None
        self._records: Iterator[TickRecord | RoomKeyframe]
        self._go_to_keyframe(0)

    @property
    def room(self) -> Room:
        """The room at the present place."""
        return self.runtime.room

    @property
    def tick(self) -> int:
        """The number of the last replayed tick."""
        return self.runtime.tick

    def seek(self, tick: int) -> None:
        """Go to the end of a tick: forward from the present place, or from a keyframe if that is nearer.

        A tick before the first keyframe leads to that one, a tick after the end to the end.

        Raises:
            RecordingDamaged, ReplayFailed: see `Replay`.
        """
        number = self.recording.find_keyframe(tick)
        if not self.tick <= tick or self.recording.keyframes[number].tick > self.tick:
            self._go_to_keyframe(number)
        while self.tick < tick and self.step() is not None:
            pass

    def step(self) -> ReplayedTick | None:
        """Apply the next entries and run the tick that follows them; None at the end of the recording.

        A step without a tick has the entries before a keyframe or at the end of the recording.

        Raises:
            RecordingDamaged: the entries cannot be decoded.
        """
        for record in self._records:
            if isinstance(record, TickRecord):
                return self._replay(record)
            self._pass_keyframe(record)
        return None

    def verify(self) -> ReplayReport:
        """Replay the whole recording up to the first difference, and from there to the next keyframe.

        Raises:
            RecordingDamaged, ReplayFailed: see `Replay`.
        """
        self._go_to_keyframe(0)
        lost, ticks, failure = self.keyframe.lost, 0, None
        first = self._compare(self.keyframe.checksums)
        self._seeks_difference = first is not None
        while self._difference is None and (step := self.step()) is not None:
            ticks += step.ran
            if first is None and step.divergence is not None:
                first, self._seeks_difference = step.divergence, True
            if step.failures and not step.failures[-1].is_ignored:
                failure = step.failures[-1]
        if first is not None:
            first = msgspec.structs.replace(first, difference=self._difference)
        recording = self.recording
        return ReplayReport(
            ticks=ticks,
            first_tick=recording.first_tick,
            last_tick=recording.last_tick,
            divergence=first,
            failure=failure,
            reason=recording.reason,
            lost=lost,
            changed_tables=self.changed_tables,
            damaged_after=self.tick if first is None and self.tick < recording.last_tick else None,
        )

    # -- one step -------------------------------------------------------------------------------------------

    def record_failure(self, hook: str, error: BaseException, /, *, is_ignored: bool) -> None:
        """Keep an exception of a replayed hook. Implements `FailureRecorder`."""
        self._failures.append(FailureEntry(hook, type(error).__name__, text_of(error), is_ignored))
        self.error = error

    def _replay(self, record: TickRecord) -> ReplayedTick:
        self._failures.clear()
        left_out, has_failed = "", False
        try:
            for entry in record.entries:
                self._player.apply(entry)
            if record.ran:
                left_out = self._player.deliver(record)
                has_failed = not self._run_tick()
            events = self._player.take_events()
        except _DAMAGE as error:
            raise RecordingDamaged(f"the entries of tick {record.tick} cannot be applied: {error!r}") from error
        return ReplayedTick(
            tick=self.tick,
            ran=record.ran,
            entries=record.entries,
            inputs=record.inputs,
            events=events,
            failures=tuple(self._failures),
            divergence=self._find_divergence(record, left_out, has_failed=has_failed),
            recorded_failure=record.failures[-1] if record.has_failed and record.failures else None,
        )

    def _run_tick(self) -> bool:
        """Run a tick and return whether it has succeeded."""
        try:
            self.runtime.simulate()
        except RoomCodeRaised as error:
            cause = error.__cause__ or error
            if cause is not self.error:  # outside of a hook: a NaN in a column
                self.record_failure(str(error), cause, is_ignored=False)
            return False
        return True

    def _find_divergence(self, record: TickRecord, left_out: str, *, has_failed: bool) -> Divergence | None:
        if not record.ran:
            return None
        was_failure = record.has_failed
        if self.tick != record.tick:
            return Divergence(record.tick, reason=f"the replay is at tick {self.tick}")
        if has_failed and not was_failure:
            return Divergence(record.tick, reason=f"{self._failures[-1].describe()}, which is not in the recording")
        if was_failure and not has_failed:
            text = record.failures[-1].describe() if record.failures else "the tick has failed"
            return Divergence(record.tick, reason=f"{text} in the recording, not in the replay")
        if was_failure:
            return self._compare_failures(record)
        found = self._compare(record.checksums) if record.checksums else None
        return msgspec.structs.replace(found, reason=left_out) if found and left_out else found

    def _compare_failures(self, record: TickRecord) -> Divergence | None:
        if not record.failures or record.failures[-1].is_like(self._failures[-1]):
            return None
        was, now = record.failures[-1].describe(), self._failures[-1].describe()
        return Divergence(record.tick, reason=f"{now}, recorded is {was}")

    def _compare(self, recorded: bytes) -> Divergence | None:
        """Compare the checksums of the parts that both builds declare alike."""
        parts = find_differences(
            self.recording.header.parts, recorded, self._checksums.parts, self._checksums.compute()
        )
        parts = tuple(part for part in parts if part not in self.changed_tables)
        return Divergence(self.tick, parts) if parts else None

    # -- the place ------------------------------------------------------------------------------------------

    def _go_to_keyframe(self, number: int) -> None:
        self.keyframe = self.recording.read_keyframe(number)
        built = build_room(self._room_class, self.recording.header, self.keyframe)
        self.runtime = built.runtime
        self.runtime.tick_errors.recorder = self
        self._player = EntryPlayer(built)
        self._checksums = StateChecksums(self.runtime.room)
        self._records = self.recording.read_ticks(number)
        self._failures: list[FailureEntry] = []
        self.error = None
        self._seeks_difference = False
        self._difference: StateDifference | None = None

    def _pass_keyframe(self, keyframe: RoomKeyframe) -> None:
        self.keyframe = keyframe
        if self._seeks_difference and self._difference is None:
            try:
                self._difference = find_difference(self.runtime, keyframe)
            except _DAMAGE as error:
                raise RecordingDamaged(f"the keyframe at tick {keyframe.tick} cannot be read: {error!r}") from error
