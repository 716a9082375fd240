"""Which messages about the queue are about the place that the client wants now."""

from __future__ import annotations

import pytest

from tickwire.client.core import ClientCore
from tickwire.client.updates import QueueChanged, Redirected
from tickwire.schemas.codec import decode_client, encode_server
from tickwire.schemas.messages import MatchCancel, MatchStatus, Message, QueueState, Redirect, Welcome

WAITING, FOUND, CANCELLED, TIMED_OUT = QueueState
MATCH = Redirect("ws://match", "t")


def receive(core: ClientCore, message: Message) -> object:
    return core.receive(encode_server(message), now_us=1)


def queued(mode: str = "duel") -> ClientCore:
    """A client that has asked for a match."""
    core = ClientCore()
    receive(core, Welcome("s", "s.1", generation=1))
    core.match_request(mode)
    return core


def meanings(core: ClientCore, *states: QueueState, mode: str = "duel") -> list[str]:
    """Return the meaning of each MatchStatus: another queue entry, progress, or the end of the wait."""
    found = []
    for state in states:
        update = receive(core, MatchStatus(state, mode=mode))
        assert isinstance(update, QueueChanged)
        found.append("end" if update.is_end else "progress" if update.is_current else "other")
    return found


def sent(core: ClientCore) -> list[Message]:
    messages: list[Message] = [decode_client(data) for data in core.outgoing]
    core.outgoing.clear()
    return messages


@pytest.mark.parametrize("end", [CANCELLED, TIMED_OUT])
def test_wait_ends_with_its_place(end: QueueState) -> None:
    assert meanings(queued(), WAITING, WAITING, end) == ["progress", "progress", "end"]


def test_reply_to_an_abandoned_cancel_does_not_end_the_next_wait() -> None:
    core = queued()
    meanings(core, WAITING)
    core.abandon_match()
    assert sent(core) == [MatchCancel()]
    core.match_request("duel")
    assert meanings(core, WAITING, CANCELLED, WAITING, CANCELLED) == ["other", "other", "progress", "end"]


def test_unrequested_cancel_before_the_answer_does_not_end_the_next_wait() -> None:
    """A friend left just before the client gave up: two messages say CANCELLED, and the second is the answer."""
    core = queued()
    meanings(core, WAITING)
    core.abandon_match()
    core.match_request("duel")
    assert meanings(core, CANCELLED, CANCELLED, WAITING) == ["other", "other", "progress"]


def test_redirect_after_found_leads_to_the_match_and_others_answer_a_join() -> None:
    core = queued()
    meanings(core, WAITING)
    assert receive(core, Redirect("ws://a", "t")) == Redirected(Redirect("ws://a", "t"))
    assert meanings(core, FOUND) == ["progress"]
    assert receive(core, MATCH) == Redirected(MATCH, is_match=True)
    assert receive(core, Redirect("ws://c", "t")) == Redirected(Redirect("ws://c", "t"))


def test_match_that_ended_before_it_was_abandoned_is_not_reported() -> None:
    core = queued()
    meanings(core, WAITING)
    core.abandon_match()
    assert meanings(core, FOUND) == ["other"]
    assert receive(core, MATCH) is None
    core.match_request("duel")
    assert meanings(core, WAITING, FOUND) == ["progress", "progress"], "and leaves nothing behind"


def test_match_that_ended_before_it_was_abandoned_answers_a_new_request_for_its_mode() -> None:
    """The server has voided the new request: the match that it had is the one that this client plays."""
    core = queued()
    meanings(core, WAITING)
    core.abandon_match()
    core.match_request("duel")
    assert meanings(core, FOUND) == ["progress"]
    assert receive(core, MATCH) == Redirected(MATCH, is_match=True)


def test_found_that_answers_a_late_cancel_has_a_reason_and_leads_to_no_match() -> None:
    core = queued()
    meanings(core, WAITING, FOUND)
    assert receive(core, MATCH) == Redirected(MATCH, is_match=True)
    core.abandon_match()
    update = receive(core, MatchStatus(FOUND, mode="duel", reason="the match was final before"))
    assert isinstance(update, QueueChanged)
    assert not update.is_current
    assert receive(core, Redirect("ws://c", "t")) == Redirected(Redirect("ws://c", "t")), "it answers a Join"
    core.match_request("duel")
    assert meanings(core, WAITING, CANCELLED) == ["progress", "end"], "nothing waits for an answer"


def test_match_of_another_mode_ends_the_wait() -> None:
    core = queued("duel")
    meanings(core, WAITING)
    core.match_request("team")
    assert meanings(core, FOUND, mode="duel") == ["end"]
    assert receive(core, MATCH) is None


def test_cancel_that_was_lost_with_the_connection_is_sent_again_until_it_is_answered() -> None:
    core = queued()
    core.abandon_match()
    for generation in (2, 3):
        core.hello()
        receive(core, Welcome("s", "s.x", generation=generation))
        assert sent(core) == [MatchCancel()]
    meanings(core, CANCELLED)
    core.hello()
    receive(core, Welcome("s", "s.y", generation=4))
    assert not core.outgoing


def test_new_session_has_no_queue_position_and_no_pending_cancel() -> None:
    core = queued()
    core.abandon_match()
    core.hello()
    receive(core, Welcome("t", "t.1", generation=1))
    assert not core.outgoing
    core.match_request("duel")
    assert meanings(core, WAITING, CANCELLED) == ["progress", "end"]


def test_nothing_is_cancelled_after_the_wait_has_ended() -> None:
    core = queued()
    meanings(core, WAITING, TIMED_OUT)
    core.abandon_match()
    assert not core.outgoing
