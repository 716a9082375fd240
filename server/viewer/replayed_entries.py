"""Converts the report of a replayed tick into entries of the timeline. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tickwire.server.recording import entries
from tickwire.server.recording.replay import ReplayedTick
from tickwire.server.recording.replay_session import ReplayedEvent
from tickwire.server.rooms.hook_call import describe_value
from tickwire.server.viewer.views import EntryKind, TimelineEntry

TEXT_CHARACTERS_MAX = 500
_KINDS: dict[type, EntryKind] = {
    entries.JoinEntry: "join",
    entries.LeaveEntry: "leave",
    entries.DisconnectEntry: "connection",
    entries.ResumeEntry: "connection",
    entries.CommandEntry: "command",
    entries.TuningEntry: "tuning",
}
"""The kinds of recorded entries; the others are outcomes of work outside of the room."""
_HIDDEN = (entries.RecordsEntry, entries.CallEntry)
"""Entries that concern the server only: reads of records, and saves."""


def to_timeline_entries(done: ReplayedTick) -> Iterator[TimelineEntry]:
    """Yield the entries of a tick: players' actions, outcomes, events, and exceptions of hooks."""
    for entry in done.entries:
        if not isinstance(entry, _HIDDEN):
            yield _create(done.tick, _KINDS.get(type(entry), "outcome"), entry.describe())
    for text, receivers in _group(done.events).items():
        receiver = receivers[0] if len(receivers) == 1 else f"{len(receivers)} players"
        yield _create(done.tick, "event", f"{text} to {receiver}")
    for failure in done.failures:
        yield _create(done.tick, "error", f"{failure.hook}: {failure.error} {failure.message}")
    if done.divergence is not None:
        yield _create(done.tick, "divergence", str(done.divergence))


def _group(events: Iterable[ReplayedEvent]) -> dict[str, list[str]]:
    """Return the receivers of each event: the replay reports a broadcast once for each player."""
    receivers: dict[str, list[str]] = {}
    for event in events:
        receivers.setdefault(f"{event.name} {describe_value(event.payload)}", []).append(event.player_id)
    return receivers


def _create(tick: int, kind: EntryKind, text: str) -> TimelineEntry:
    return TimelineEntry(tick, kind, text[:TEXT_CHARACTERS_MAX])
