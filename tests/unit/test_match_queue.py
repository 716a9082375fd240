"""Which messages about the queue are about the place that the client wants now."""

from __future__ import annotations

from client.core import ClientCore
from client.updates import QueueChanged, Redirected
from schemas.codec import decode_client, encode_server
from schemas.messages import MatchCancel, MatchStatus, Message, QueueState, Redirect, Welcome

WAITING, FOUND, CANCELLED, TIMED_OUT = QueueState


def receive(core: ClientCore, message: Message) -> object:
    return core.receive(encode_server(message), now_us=1)


def is_current(core: ClientCore, state: QueueState) -> bool:
    update = receive(core, MatchStatus(state))
    assert isinstance(update, QueueChanged)
    return update.is_current


def test_messages_of_one_wait_are_current() -> None:
    for end in (CANCELLED, TIMED_OUT):
        core = ClientCore()
        assert [is_current(core, state) for state in (WAITING, WAITING, end)] == [True, True, True]


def test_answer_to_a_cancel_that_was_given_up_does_not_end_the_next_wait() -> None:
    core = ClientCore()
    is_current(core, WAITING)
    core.give_up_match()
    core.match_request("duel")
    sequence = (WAITING, CANCELLED, WAITING, WAITING, CANCELLED)
    assert [is_current(core, state) for state in sequence] == [False, False, True, True, True]


def test_unasked_cancel_before_the_answer_does_not_end_the_next_wait_either() -> None:
    """A friend left just before the client gave up: two messages say CANCELLED, and the second is the answer."""
    core = ClientCore()
    is_current(core, WAITING)
    core.give_up_match()
    core.match_request("duel")
    assert [is_current(core, state) for state in (CANCELLED, CANCELLED, WAITING)] == [False, False, True]


def test_redirect_after_found_leads_to_the_match_and_others_answer_a_join() -> None:
    core = ClientCore()
    is_current(core, WAITING)
    assert receive(core, Redirect("ws://a", "t")) == Redirected(Redirect("ws://a", "t"))
    is_current(core, FOUND)
    assert receive(core, Redirect("ws://b", "t")) == Redirected(Redirect("ws://b", "t"), is_match=True)
    assert receive(core, Redirect("ws://c", "t")) == Redirected(Redirect("ws://c", "t"))


def test_redirect_to_a_match_that_was_given_up_is_not_reported() -> None:
    core = ClientCore()
    is_current(core, WAITING)
    core.give_up_match()
    assert not is_current(core, FOUND)
    assert receive(core, Redirect("ws://b", "t")) is None
    assert not is_current(core, CANCELLED)


def test_cancel_that_was_lost_with_the_connection_is_sent_again_until_it_is_answered() -> None:
    core = ClientCore()
    receive(core, Welcome("s", "s.1", generation=1))
    core.give_up_match()
    for generation in (2, 3):
        core.hello()
        receive(core, Welcome("s", "s.x", generation=generation))
        assert [decode_client(data) for data in core.outgoing] == [MatchCancel()]
    is_current(core, CANCELLED)
    core.hello()
    receive(core, Welcome("s", "s.y", generation=4))
    assert not core.outgoing


def test_new_session_has_no_place_and_nothing_to_cancel() -> None:
    core = ClientCore()
    receive(core, Welcome("s", "s.1", generation=1))
    core.give_up_match()
    core.hello()
    receive(core, Welcome("t", "t.1", generation=1))
    assert not core.outgoing
    assert [is_current(core, state) for state in (WAITING, CANCELLED)] == [True, True]
