"""The command window, case by case."""

from __future__ import annotations

import pytest

from tickwire.client.command_window import ANSWER_MS_MAX, COMMANDS_MAX, IDS_MAX, CommandWindow, is_decided
from tickwire.client.errors import ClientError
from tickwire.schemas.messages import ErrorCode, Reply, Welcome

NO_LIMITS = Welcome()


def window(count: int, welcome: Welcome = NO_LIMITS, *, size: int = 1) -> CommandWindow:
    made = CommandWindow(lambda: 1.0)
    made.welcomed(welcome)
    for command_id in range(1, count + 1):
        made.add(command_id, bytes([command_id % 256]) * size)
    return made


def test_only_the_first_ids_are_sent_and_the_others_as_these_are_answered() -> None:
    made = window(40)
    assert made.due(0) == [bytes([n]) for n in range(1, IDS_MAX + 1)]
    assert made.due(100) == []
    made.replied(Reply(3, ok=True), 200)
    assert made.due(200) == [], "the oldest has no answer yet: a later id could make it too old"
    made.replied(Reply(1, ok=True), 200)
    assert made.due(200) == [bytes([IDS_MAX + 1])]


def test_messages_stay_below_half_of_the_rate() -> None:
    made = window(300, Welcome(messages_per_second_max=120))
    sent, answered = 0, 1
    for step in range(300):
        for _ in made.due(step * 10):
            sent += 1
            made.replied(Reply(answered, ok=True), step * 10)
            answered += 1
    assert sent == pytest.approx(60 + 60 * 3, abs=3)


def test_bytes_stay_below_half_of_the_rate() -> None:
    made = window(16, Welcome(messages_per_second_max=1000, bytes_per_second_max=1000), size=100)
    assert len(made.due(0)) == 6
    assert len(made.due(500)) == pytest.approx(3, abs=1)


def test_command_larger_than_the_bytes_of_a_second_is_sent_all_the_same() -> None:
    made = window(2, Welcome(messages_per_second_max=10, bytes_per_second_max=100), size=120)
    assert len(made.due(0)) == 1
    next_ms = made.next_due_ms(0)
    assert next_ms is not None
    assert 1000 < next_ms < 3000
    assert len(made.due(next_ms)) == 1


@pytest.mark.parametrize("error", [ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED])
@pytest.mark.parametrize("retry_after_ms", [0, 900])
def test_reply_that_decides_nothing_makes_the_command_due_again(error: ErrorCode, retry_after_ms: int) -> None:
    made, reply = window(1), Reply(1, error=error, retry_after_ms=retry_after_ms)
    assert not is_decided(reply)
    made.due(0)
    made.replied(reply, 0)
    assert made.due(max(240, retry_after_ms - 10)) == []
    assert len(made.due(1300)) == 1


def test_command_without_an_answer_is_sent_again_after_a_while_and_after_a_resume() -> None:
    made = window(1)
    assert len(made.due(0)) == 1
    assert made.due(ANSWER_MS_MAX - 100) == []
    assert len(made.due(ANSWER_MS_MAX)) == 1
    made.welcomed(NO_LIMITS)
    assert len(made.due(ANSWER_MS_MAX)) == 1


def test_resume_does_not_allow_more_than_the_rate() -> None:
    welcome = Welcome(messages_per_second_max=20)
    made = window(16, welcome)
    assert len(made.due(0)) == 11
    made.welcomed(welcome)
    assert made.due(50) == []
    assert len(made.due(500)) == 5


def test_commands_sent_while_no_rate_is_known_do_not_count_against_a_later_rate() -> None:
    """A server of an earlier version sends no rates; the session moves to a newer one during a rolling update."""
    made = window(0)
    for command_id in range(1, 101):
        made.add(command_id, b"x" * 1000)
        assert len(made.due(0)) == 1
        made.replied(Reply(command_id, ok=True), 0)
    made.add(101, b"x")
    made.welcomed(Welcome(messages_per_second_max=20, bytes_per_second_max=1000))
    assert len(made.due(0)) == 1


def test_commands_without_an_answer_are_bounded() -> None:
    made = window(COMMANDS_MAX)
    with pytest.raises(ClientError, match="1024 commands have no reply yet"):
        made.add(COMMANDS_MAX + 1, b"x")
    made.remove(1)
    made.remove(1)
    made.add(COMMANDS_MAX + 1, b"x")
    made.clear()
    assert made.next_due_ms(0) is None
