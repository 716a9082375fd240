"""Events of the Python client: each is delivered once, also while listeners come and go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tickwire.client.event_log import EventLog
from tickwire.client.events import Listeners
from tickwire.schemas.messages import Event


class Chimed(msgspec.Struct):
    times: int


@pytest.fixture
def log() -> EventLog:
    return EventLog(Listeners())


def receive(log: EventLog, *times: int) -> None:
    for count in times:
        log.received(Event(count, "chimed", msgspec.msgpack.encode({"times": count})))


@pytest.mark.parametrize("is_typed", [True, False])
def test_a_listener_that_removes_itself_has_received_its_event(log: EventLog, is_typed: bool) -> None:
    first: list[Any] = []
    second: list[Any] = []

    def once(event: Any) -> None:
        first.append(event)
        remove()

    add = (lambda listener: log.add_typed_listener(Chimed, listener)) if is_typed else log.add_listener
    remove = add(once)
    receive(log, 1)
    add(second.append)
    assert (len(first), second) == (1, []), "no other listener receives the same event later"
    receive(log, 2)
    assert (len(first), len(second)) == (1, 1)


def test_a_listener_may_add_another_one_while_it_receives_the_events_before_it(log: EventLog) -> None:
    receive(log, 1, 2, 3)
    received: list[tuple[str, int]] = []

    def outer(event: Chimed) -> None:
        received.append(("outer", event.times))
        if event.times == 1:
            log.add_typed_listener(Chimed, lambda event: received.append(("inner", event.times)))

    log.add_typed_listener(Chimed, outer)
    assert [times for name, times in received if name == "outer"] == [1, 2, 3]
    receive(log, 4)
    assert received[-2:] == [("outer", 4), ("inner", 4)]
    assert len(received) == len(set(received)), "no event twice"
