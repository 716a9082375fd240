"""The work of a shard that enforces revocations."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import msgspec

from tickwire.server.admin.revocation_enforcer import RevocationEnforcer
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage import Revocation

NOW_S = 1_700_000_000.0
NOW = datetime.datetime.fromtimestamp(NOW_S, datetime.UTC)
LATER = NOW + datetime.timedelta(hours=1)


class HeldToken(msgspec.Struct):
    """The token of a session."""

    family_id: str
    issued_at_s: float


class RevocableSession:
    """A session that knows whether it was ended."""

    def __init__(self, player_id: str, family_id: str, issued_at_s: float = NOW_S - 1) -> None:
        self.player_id = player_id
        self.session_id = f"session of {family_id}"
        self.token = HeldToken(family_id, issued_at_s)
        self.revoked = 0

    def revoke(self) -> None:
        self.revoked += 1
        if "broken" in self.player_id:
            raise RuntimeError("the session cannot end")


class CountedSessions:
    """The sessions of a shard; counts the look-ups."""

    def __init__(self, sessions: list[RevocableSession]) -> None:
        self._sessions = sessions
        self.looked_up = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[RevocableSession]:
        self.looked_up += len(self._sessions)
        return iter(self._sessions)

    def find_by_player(self, player_id: str) -> list[RevocableSession]:
        self.looked_up += 1
        return [session for session in self._sessions if session.player_id == player_id]


class ListedRevocations:
    """The store of revocations, with those of a list."""

    def __init__(self, revocations: list[Revocation]) -> None:
        self._revocations = revocations

    async def list_changed(self, since: Any) -> tuple[list[Revocation], datetime.datetime]:
        return (self._revocations if since is None else []), NOW


def enforcer_of(sessions: CountedSessions, revocations: list[Revocation]) -> RevocationEnforcer:
    store: Any = ListedRevocations(revocations)
    registry: Any = sessions
    return RevocationEnforcer(store, registry, lambda: NOW_S, FaultIsolation())


async def test_poll_does_no_work_for_revocations_of_players_who_are_not_here() -> None:
    """Each logout in the fleet is a revocation for 25 minutes: a busy fleet has tens of thousands of them."""
    ann, bob = RevocableSession("p-ann", "f-1"), RevocableSession("p-bob", "f-2")
    sessions = CountedSessions([ann, bob])
    elsewhere = [Revocation(f"p-{number}", f"g-{number}", NOW, LATER) for number in range(1000)]
    enforcer = enforcer_of(sessions, [*elsewhere, Revocation("p-ann", "f-1", NOW, LATER)])
    await enforcer.poll()
    assert (ann.revoked, bob.revoked) == (1, 0)
    assert sessions.looked_up <= 2


async def test_poll_looks_up_a_few_revocations_only_on_a_shard_of_many_sessions() -> None:
    many = [RevocableSession(f"p-{number}", f"f-{number}") for number in range(1000)]
    sessions = CountedSessions(many)
    before = Revocation("p-7", "", NOW, LATER)
    await enforcer_of(sessions, [before, Revocation("p-9", "f-9", NOW, LATER)]).poll()
    assert [session.player_id for session in many if session.revoked] == ["p-7", "p-9"]
    assert sessions.looked_up <= 2


async def test_session_that_two_revocations_concern_ends_once_and_a_fault_does_not_save_the_others() -> None:
    broken, ann = RevocableSession("p-broken", "f-0"), RevocableSession("p-ann", "f-1")
    renewed = RevocableSession("p-ann", "f-2", NOW_S + 1)
    sessions = CountedSessions([broken, ann, renewed, RevocableSession("p-bob", "f-3")])
    revocations = [
        Revocation("p-broken", "f-0", NOW, LATER),
        Revocation("p-ann", "", NOW, LATER),
        Revocation("p-ann", "f-1", NOW, LATER),
    ]
    await enforcer_of(sessions, revocations).poll()
    assert (broken.revoked, ann.revoked, renewed.revoked) == (1, 1, 0)
