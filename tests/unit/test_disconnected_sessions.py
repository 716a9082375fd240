"""Which session ends when too many are disconnected: strangers push out strangers, an address its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.edge.disconnected_sessions import DisconnectedSessions


class FakeSession:
    """A session without a shard."""

    def __init__(self, *, is_guest: bool = True, room_id: str = "", address: str = "192.0.2.1") -> None:
        self.is_guest, self.room_id, self.address = is_guest, room_id, address


def add(sessions: DisconnectedSessions[FakeSession], session: FakeSession, now_s: float = 0.0) -> FakeSession | None:
    evicted = sessions.add(session, now_s)
    if evicted is not None:
        sessions.discard(evicted)
    return evicted


def test_strangers_evict_only_strangers() -> None:
    sessions = DisconnectedSessions[FakeSession](most=10, most_per_address=10**6)
    honest = [FakeSession(is_guest=False), FakeSession(room_id="r"), FakeSession(is_guest=False, room_id="r")]
    for session in honest:
        add(sessions, session)
    evicted = [add(sessions, FakeSession()) for _ in range(1000)]
    assert not set(honest) & set(evicted)
    assert len(sessions) == 10
    assert sessions.expired(0.0)[:3] == honest


def test_strangers_of_one_address_evict_each_other() -> None:
    sessions = DisconnectedSessions[FakeSession](most=100, most_per_address=20)
    lobby = FakeSession(address="198.51.100.7")  # a guest without a seat, as honest as any
    add(sessions, lobby)
    seated = [FakeSession(room_id="r") for _ in range(15)]
    evicted = [add(sessions, session) for session in (*seated, *(FakeSession() for _ in range(500)))]
    assert lobby not in evicted
    assert not set(seated) & set(evicted)
    assert len(sessions) == 21


def test_oldest_session_is_evicted_without_strangers() -> None:
    sessions = DisconnectedSessions[FakeSession](most=2, most_per_address=10)
    first, second, third = (FakeSession(is_guest=False) for _ in range(3))
    assert [add(sessions, session) for session in (first, second, third)] == [None, None, first]


def test_stranger_that_has_joined_meanwhile_is_not_evicted() -> None:
    sessions = DisconnectedSessions[FakeSession](most=2, most_per_address=10)
    joining, stranger, newest = FakeSession(), FakeSession(), FakeSession()
    add(sessions, joining)
    add(sessions, stranger)
    joining.room_id = "r"
    assert add(sessions, newest) is stranger


def test_session_that_disconnects_again_is_the_newest() -> None:
    sessions = DisconnectedSessions[FakeSession](most=2, most_per_address=10)
    first, second, third = (FakeSession() for _ in range(3))
    add(sessions, first, 0.0)
    add(sessions, second, 1.0)
    sessions.discard(first)
    add(sessions, first, 2.0)
    assert sessions.expired(1.5) == [second]
    assert add(sessions, third, 3.0) is second


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["", "r"]), st.sampled_from(["", "a", "b", "c"]))))
def test_bounds_hold_and_no_entry_leaks(made: list[tuple[bool, str, str]]) -> None:
    sessions = DisconnectedSessions[FakeSession](most=8, most_per_address=3)
    kept: set[FakeSession] = set()
    for is_guest, room_id, address in made:
        session = FakeSession(is_guest=is_guest, room_id=room_id, address=address)
        kept.add(session)
        evicted = add(sessions, session)
        kept.discard(evicted)  # type: ignore[arg-type]
        assert len(sessions) == len(kept) <= 8
        assert all(sum(one.address == each for one in kept) <= 3 for each in "abc")
    for session in kept:
        sessions.discard(session)
    assert not sessions._by_network
    assert not sessions._strangers


def test_session_that_resumes_from_another_address_leaves_the_former() -> None:
    sessions = DisconnectedSessions[FakeSession](most=100, most_per_address=1)
    roamer = FakeSession(room_id="r", address="192.0.2.1")
    add(sessions, roamer)
    roamer.address = "198.51.100.7"  # it has resumed on another network
    sessions.discard(roamer)
    assert add(sessions, FakeSession(room_id="r", address="192.0.2.1")) is None
    assert len(sessions) == 1
