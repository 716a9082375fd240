"""Sessions of another shard, made again: who may have one, and with which tokens it comes back."""

from __future__ import annotations

import pytest

from schemas.messages import Reply
from server.edge.auth import Identity
from server.edge.session import Session
from server.edge.settings import EdgeSettings
from server.rooms.state import KeptSession
from tests.lives import Around

KEPT = KeptSession("s", "p", False, 3, 5, 3, 2, 7, (b"one", b"two"), (Reply(1, ok=True, payload=b"\1"),))


async def test_it_is_away_and_as_it_was() -> None:
    around = Around(EdgeSettings())
    session = around.registry.revive(KEPT, around)  # type: ignore[arg-type]
    assert session is not None
    assert (session.session_id, session.player_id, session.is_guest, session.wire) == ("s", "p", False, None)
    assert session.keep() == KEPT
    assert around.registry.away_count == 1
    assert around.registry.revive(KEPT, around) is None, "there is one of that name"  # type: ignore[arg-type]
    around.registry.sweep(around.settings.resume_window_s + 1)
    assert len(around.registry) == 0, "nobody came back in time"


@pytest.mark.parametrize(
    ("generation", "is_good"),
    [(2, False), (3, True), (4, False), (5, True), (6, True), (9, True)],
    ids=["long used", "used last", "skipped", "given last", "given since", "given long since"],
)
async def test_tokens_that_were_given_since_are_known(generation: int, is_good: bool) -> None:
    around = Around(EdgeSettings())
    session = around.registry.revive(KEPT, around)  # type: ignore[arg-type]
    assert session is not None
    token = around.tokens.sign("s", generation)
    assert (around.registry.find(token) is session) == is_good
    if is_good:
        assert session.reserve_generation(9) > max(generation, 5), "the next one is newer than any"


@pytest.mark.parametrize("policy", ["replace", "refuse", "allow"])
async def test_a_player_who_is_here_already_keeps_the_newer_session(policy: str) -> None:
    around = Around(EdgeSettings(same_player=policy))  # type: ignore[arg-type]
    around.registry._same_player = policy  # type: ignore[assignment]
    newer = Session(Identity("p", False), schema_version=3, around=around)  # type: ignore[arg-type]
    around.registry.add(newer)
    revived = around.registry.revive(KEPT, around)  # type: ignore[arg-type]
    assert (revived is not None) == (policy == "allow")
    assert newer in list(around.registry)
