"""A session's history is short, in order, and says when, what and why."""

from __future__ import annotations

import structlog

from tickwire.server.edge.session_history import ENTRIES_MAX, ENTRY_CHARACTERS_MAX, SessionHistory

AT_US = 1_769_860_985_250_000
"""2026-01-31 12:03:05.250 UTC."""


def test_history_entry_has_time_event_and_reason() -> None:
    history = SessionHistory("s1", "ada")
    with structlog.testing.capture_logs() as lines:
        history.add(AT_US, "disconnected", reason="silent for 10 s", room_id="")
    assert history.entries == ["2026-01-31T12:03:05.250Z disconnected reason=silent for 10 s"]
    (line,) = lines
    assert line == {
        "event": "session_disconnected",
        "log_level": "info",
        "session_id": "s1",
        "player_id": "ada",
        "reason": "silent for 10 s",
        "room_id": "",
    }


def test_only_the_last_entries_are_kept_and_none_is_long() -> None:
    history = SessionHistory("s1", "ada")
    for number in range(ENTRIES_MAX * 3):
        history.add(AT_US, "refused", number=number, error="x" * 10_000)
    assert len(history.entries) == ENTRIES_MAX
    assert f"number={ENTRIES_MAX * 3 - 1} " in history.entries[-1]
    assert all(len(entry) <= ENTRY_CHARACTERS_MAX for entry in history.entries)
