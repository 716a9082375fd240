"""The guarantees of presence, on a real Redis and on the in-process store of `tickwire.testing`."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.harness.matchmaker_stores import MatchmakerStore, RedisStore
from tests.harness.polling import eventually
from tickwire.matchmaking import Notice, Presence, PresenceRecord, PresenceRenewal, Ttls
from tickwire.matchmaking.presence import (
    NOTICES_A_CALL_MAX,
    PLAYERS_A_CALL_MAX,
    SessionPolicy,
    partition_from_player,
)

ANN = "p-ann"
SECOND_US = 1_000_000
ELSEWHERE = PresenceRenewal(elsewhere=frozenset({ANN}))


def record(shard_id: str, session_id: str = "", opened_us: int = 0, **fields: object) -> PresenceRecord:
    made = PresenceRecord(shard_id, session_id or f"of {shard_id}", opened_us)
    return msgspec.structs.replace(made, **fields)


@pytest.fixture
async def presence(store: MatchmakerStore) -> Presence:
    """Of a fleet whose shards are alive."""
    made = store.create().presence
    await keep_alive(made)
    return made


async def keep_alive(presence: Presence, *shard_ids: str) -> None:
    for shard_id in shard_ids or ("one", "two", "three"):
        await presence.renew(partition_from_player(ANN), shard_id, {})


async def renew(presence: Presence, shard_id: str, mine: PresenceRecord, policy: SessionPolicy = "replace") -> object:
    """Renew the presence of ann, and return the result without its notices."""
    renewal = await presence.renew(partition_from_player(ANN), shard_id, {ANN: mine}, policy=policy)
    return msgspec.structs.replace(renewal, notices=())


async def notices_of(presence: Presence, shard_id: str, acknowledged: int = 0) -> list[Notice]:
    found = await presence.renew(partition_from_player(ANN), shard_id, {}, acknowledged=acknowledged)
    return list(found.notices)


async def test_session_that_is_opened_last_takes_over_and_the_other_shard_is_informed(presence: Presence) -> None:
    first = await presence.claim(ANN, record("one"), age_us=0)
    assert (first.status, first.record.shard_id) == ("claimed", "one")
    assert await presence.get(ANN) == first.record
    second = await presence.claim(ANN, record("two"), age_us=0)
    assert second.status == "taken_over"
    assert second.record.opened_us >= first.record.opened_us
    assert await presence.get(ANN) == second.record
    (notice,) = await notices_of(presence, "one")
    assert (notice.kind, notice.player_id, notice.session_id, notice.text) == ("replaced", ANN, "of one", "two")
    assert await notices_of(presence, "two") == []


async def test_time_of_opening_is_computed_by_the_clock_of_redis(presence: Presence) -> None:
    """A shard whose clock is hours off opens sessions all the same; a delayed claim is not newer for that."""
    await presence.claim(ANN, record("one", opened_us=1), age_us=SECOND_US)
    late = await presence.claim(ANN, record("two", opened_us=2**52), age_us=10 * SECOND_US)
    assert (late.status, late.record.shard_id) == ("superseded", "one")
    assert await notices_of(presence, "one") == []
    assert (await presence.claim(ANN, record("three"), age_us=0)).status == "taken_over"


async def test_new_session_takes_over_although_the_clock_of_redis_was_set_back(presence: Presence) -> None:
    ahead = 2**52
    await presence.claim(ANN, record("one", opened_us=ahead))
    taken = await presence.claim(ANN, record("two"), age_us=5)
    assert (taken.status, taken.record.opened_us) == ("taken_over", ahead + 1)


async def test_repeated_claim_changes_nothing(presence: Presence) -> None:
    first = await presence.claim(ANN, record("one"), age_us=0)
    again = await presence.claim(ANN, record("one"), age_us=50)
    assert (again.status, again.record) == ("claimed", first.record), "the reply to the first one was lost"
    await presence.claim(ANN, record("two"), age_us=0)
    assert (await presence.claim(ANN, record("one"), age_us=60 * SECOND_US)).status == "superseded"


async def test_two_claims_at_once_have_one_winner(presence: Presence) -> None:
    shards = [f"shard-{number}" for number in range(20)]
    await keep_alive(presence, *shards)
    claims = await asyncio.gather(*(presence.claim(ANN, record(shard, opened_us=7)) for shard in shards))
    assert (await presence.get(ANN)) == record("shard-9", opened_us=7), "the greatest id breaks the tie"
    winners = [claim for claim in claims if claim.status != "superseded"]
    assert winners[-1].record.shard_id == "shard-9"


@pytest.mark.parametrize("policy", ["refuse", "replace"])
async def test_new_session_is_refused_while_there_is_another_one(presence: Presence, policy: SessionPolicy) -> None:
    await presence.claim(ANN, record("one"), age_us=0, policy=policy)
    claims = [
        await presence.claim(ANN, record("two"), age_us=0, policy=policy, challenges=challenges)
        for challenges in (True, False)
    ]
    notices = [(notice.kind, notice.session_id) for notice in await notices_of(presence, "one")]
    if policy == "replace":
        assert [claim.status for claim in claims] == ["taken_over", "claimed"]
        assert notices == [("replaced", "of one")]
    else:
        assert [(claim.status, claim.record.shard_id) for claim in claims] == [("refused", "one")] * 2
        assert notices == [("challenged", "of one")], "only the first of the two claims challenges"
        await presence.release("one", [(ANN, "of one")])
        assert (await presence.claim(ANN, record("two"), age_us=0, policy=policy)).status == "claimed"


async def test_session_that_was_admitted_is_not_refused_later(presence: Presence) -> None:
    """With `refuse` two sessions meet if each was opened while Redis was unavailable: the last one stays."""
    await presence.claim(ANN, record("one", opened_us=5), policy="refuse")
    assert (await presence.claim(ANN, record("two", opened_us=6), policy="refuse")).status == "taken_over"
    assert (await presence.claim(ANN, record("one", opened_us=5), policy="refuse")).status == "superseded"


async def test_allow_names_the_newest_session_and_informs_nobody(presence: Presence) -> None:
    await presence.claim(ANN, record("one"), age_us=2, policy="allow")
    last = await presence.claim(ANN, record("two"), age_us=0, policy="allow")
    late = await presence.claim(ANN, record("one"), age_us=60 * SECOND_US, policy="allow")
    assert late.status == "superseded"
    assert await presence.get(ANN) == last.record
    await renew(presence, "two", record("two", "another", last.record.opened_us + 1), policy="allow")
    assert await notices_of(presence, "one") == await notices_of(presence, "two") == []


# -- copies of one session ----------------------------------------------------------------------------------


async def test_session_moves_to_another_shard(presence: Presence) -> None:
    """The source still has its copy for a moment: neither its renewal nor its release takes the session back."""
    source = record("one", "s", 5, generation=2)
    target = record("two", "s", 5, generation=2, is_connected=False)
    await presence.claim(ANN, source)
    assert (await presence.claim(ANN, target)).status == "claimed"
    await presence.claim(ANN, msgspec.structs.replace(target, generation=3, is_connected=True))
    assert await renew(presence, "one", source) == ELSEWHERE
    await presence.release("one", [(ANN, "s")])
    assert (await presence.get(ANN)) == record("two", "s", 5, generation=3)
    assert await notices_of(presence, "one") == [], "no session has replaced it"


async def test_older_copy_of_a_session_does_not_claim_it(presence: Presence) -> None:
    await presence.claim(ANN, record("one", "s", 5, generation=4))
    claim = await presence.claim(ANN, record("two", "s", 5, generation=3))
    assert (claim.status, claim.record.shard_id) == ("elsewhere", "one")


async def test_copy_with_a_connection_takes_the_presence_back(presence: Presence) -> None:
    """A shard was paused, so another one has restored its room with a copy of the session. Its client never left."""
    alive, copy = record("one", "s", 5, generation=2), record("two", "s", 5, generation=2, is_connected=False)
    await presence.claim(ANN, copy)
    assert await renew(presence, "one", alive) == await renew(presence, "one", alive)
    assert await presence.get(ANN) == alive
    assert await renew(presence, "two", copy) == ELSEWHERE


# -- renewals ------------------------------------------------------------------------------------------------


async def test_presence_lasts_while_its_shard_is_alive(store: MatchmakerStore) -> None:
    presence = store.create(ttls=Ttls(lease_ms=1000)).presence
    await keep_alive(presence)
    mine = (await presence.claim(ANN, record("one"), age_us=0)).record
    for _ in range(3):
        await store.wait(0.4)
        await keep_alive(presence, "one")
    assert await presence.get(ANN) == mine
    await store.wait(1.1)
    assert await presence.get(ANN) is None
    assert (await presence.kick(ANN, "spam")).status == "absent"
    other = await presence.claim(ANN, record("two"), age_us=0, policy="refuse")
    assert other.status == "claimed", "a shard that has failed does not lock its players out"
    await keep_alive(presence, "two")
    renewal = await presence.renew(partition_from_player(ANN), "one", {ANN: mine})
    assert (renewal.was_alive, renewal.superseded) == (False, {ANN: other.record}), "it was only paused"


async def test_shard_that_was_paused_takes_back_the_players_who_have_no_other_session(
    store: MatchmakerStore,
) -> None:
    presence = store.create(ttls=Ttls(lease_ms=200)).presence
    await keep_alive(presence, "one")
    mine = (await presence.claim(ANN, record("one"), age_us=0)).record
    await store.wait(0.3)
    renewal = await presence.renew(partition_from_player(ANN), "one", {})
    assert not renewal.was_alive
    assert await presence.get(ANN) == mine


async def test_record_of_a_shard_that_forgets_it_expires(store: MatchmakerStore) -> None:
    presence = store.create(ttls=Ttls(lease_ms=200)).presence
    await keep_alive(presence, "one")
    await presence.claim(ANN, record("one"), age_us=0)
    for _ in range(9):
        await store.wait(0.15)
        await keep_alive(presence, "one")
    assert await presence.get(ANN) is None


async def test_record_of_a_session_that_moves_expires_unless_its_target_claims_it(store: MatchmakerStore) -> None:
    presence = store.create(ttls=Ttls(lease_ms=400)).presence
    await keep_alive(presence)
    await presence.claim(ANN, record("one", "s", 5))
    await presence.release("one", [(ANN, "s")], have_moved=True)
    assert await presence.get(ANN) == record("one", "s", 5)
    await store.wait(0.5)
    await keep_alive(presence)
    assert await presence.get(ANN) is None, "the target has failed"
    await presence.claim(ANN, record("one", "s", 5))
    await presence.claim(ANN, record("two", "s", 5))
    await presence.release("one", [(ANN, "s")], have_moved=True)
    await store.wait(0.5)
    await keep_alive(presence)
    assert await presence.get(ANN) == record("two", "s", 5)


async def test_renewal_changes_the_room_and_restores_what_was_lost(
    presence: Presence, store: MatchmakerStore
) -> None:
    mine = record("one", opened_us=5)
    await presence.claim(ANN, mine)
    seated = msgspec.structs.replace(mine, room_id="r1", room_type="arena", is_connected=False)
    assert await renew(presence, "one", seated) == PresenceRenewal()
    assert await presence.get(ANN) == seated
    await store.forget_presence()
    assert await presence.get(ANN) is None
    assert await renew(presence, "one", seated) == PresenceRenewal(was_alive=False, restored=1)
    assert await presence.get(ANN) == seated


async def test_renewal_finds_a_session_that_was_opened_later(presence: Presence, store: MatchmakerStore) -> None:
    """Both sessions are open, because Redis was unavailable, or because a notice was lost."""
    older, newer = record("one", opened_us=5), record("two", opened_us=6)
    for first, second in ((older, newer), (newer, older)):
        await store.forget_presence()
        await keep_alive(presence)
        await renew(presence, first.shard_id, first)
        await renew(presence, second.shard_id, second)
        assert await presence.get(ANN) == newer
        renewal = await presence.renew(partition_from_player(ANN), "one", {ANN: older})
        assert renewal.superseded == {ANN: newer}
        informed = [notice.session_id for notice in renewal.notices]
        assert informed == (["of one"] if first is older else [])


async def test_hundreds_of_players_are_renewed_in_one_call(presence: Presence) -> None:
    players = [name for number in range(10_000) if partition_from_player(name := f"p{number}") == 3]
    records = {player: record("one", player, 5) for player in players[:PLAYERS_A_CALL_MAX]}
    await presence.renew(3, "one", {})
    assert (await presence.renew(3, "one", records)).restored == PLAYERS_A_CALL_MAX
    renewal = await presence.renew(3, "one", records)
    assert (renewal.restored, renewal.elsewhere, renewal.superseded) == (0, frozenset(), {})
    everyone = [f"p{number}" for number in range(2000)]
    found = await presence.get_many(everyone)
    assert found == {player: made for player, made in records.items() if player in set(everyone)}
    await presence.release("one", [(player, player) for player in records])
    assert await presence.get_many(list(records)) == {}


# -- notices -------------------------------------------------------------------------------------------------


async def test_notice_is_returned_until_it_is_acknowledged(presence: Presence) -> None:
    await presence.claim(ANN, record("one"), age_us=0)
    for reason in ("spam", "abuse"):
        delivery = await presence.kick(ANN, reason)
        assert (delivery.status, delivery.record) == ("sent", await presence.get(ANN))
    first, second = await notices_of(presence, "one")
    assert (first.kind, first.text, first.session_id, second.text) == ("kicked", "spam", "of one", "abuse")
    assert first.number < second.number
    assert await notices_of(presence, "one") == [first, second], "the reply to the first call was lost"
    assert await notices_of(presence, "one", acknowledged=first.number) == [second]
    assert await notices_of(presence, "one", acknowledged=second.number) == []


async def test_notice_to_a_player_who_is_away_is_not_stored(presence: Presence) -> None:
    assert (await presence.kick(ANN, "spam")).status == "absent"
    await presence.claim(ANN, record("one"), age_us=0)
    assert (await presence.notify(ANN, "kicked", session_id="another")).status == "absent"
    assert (await presence.notify(ANN, "kicked", session_id="of one", forwards=2)).status == "sent"
    assert [notice.forwards for notice in await notices_of(presence, "one")] == [2]


async def test_inbox_of_a_shard_that_reads_nothing_is_bounded_and_expires(
    presence: Presence, store: MatchmakerStore
) -> None:
    await presence.claim(ANN, record("one"), age_us=0)
    sent = await asyncio.gather(*(presence.kick(ANN, str(number)) for number in range(1001)))
    assert [delivery.status for delivery in sent].count("full") == 1
    assert len(await notices_of(presence, "one")) == NOTICES_A_CALL_MAX
    assert (await presence.claim(ANN, record("two"), age_us=0)).status == "taken_over", "it needs no notice"
    if not isinstance(store, RedisStore):
        await store.wait(61)
        assert await notices_of(presence, "one") == []


async def test_notice_wakes_its_shard(redis_store: RedisStore) -> None:
    presence = redis_store.create().presence
    await keep_alive(presence)
    woken: list[int] = []
    listening = asyncio.create_task(redis_store.create_wake("one", woken.append).run())
    try:
        await presence.claim(ANN, record("one"), age_us=0)

        async def is_woken() -> bool:
            await presence.kick(ANN, "until the subscription is there")
            return bool(woken)

        await eventually(is_woken)
        assert set(woken) == {partition_from_player(ANN)}
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
