"""The skill of a player may be looked up with a wait; a lookup that fails uses the default of the mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.harness.polling import eventually
from tests.harness.raw_client import hello, raw_client
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import NotMatched, Refused, connect
from tickwire.schemas.messages import ErrorCode, MatchCancel, MatchRequest, MatchStatus, QueueState, Redirect, Welcome
from tickwire.schemas.payloads import encode_payload
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

WAITS = {"how": "wait"}


@pytest.fixture
async def shard(shard_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shard]:
    """A shard whose lookups end by themselves only when a test asks for it."""
    monkeypatch.setattr("tickwire.server.placement.skill_lookup.SKILL_TIMEOUT_S", 60.0)
    settings = msgspec.structs.replace(shard_settings, rooms=["tests.harness.rated_rooms"], auth=AUTH)
    async with running(settings) as shard:
        players = shard.parts.store.database["players"]
        for name, rating in (("ann", 1500), ("bob", 1200)):
            await players.insert_one({"_id": name, "version": 1, "holdings": {}, "profile": {"rating": rating}})
        yield shard


def skills_in(shard: Shard, room_id: str) -> dict[str, float]:
    runtime = shard.parts.host.get(room_id)
    assert runtime is not None
    return {player.id: player.skill for player in runtime.room.players.values()}


async def test_skill_is_computed_from_the_profile_of_the_player(shard: Shard) -> None:
    async with (
        connect(shard.url, token=token_of("ann")) as ann,
        connect(shard.url, token=token_of("bob")) as bob,
    ):
        joined, _ = await asyncio.gather(ann.match("rated"), bob.match("rated"))
        assert skills_in(shard, joined.room_id) == {"ann": 1500, "bob": 1200}
        assert shard.parts.queue_service.skills.failures == 0


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fail", "the rating service is down"),
        ("nan", "must be -1e+12 to 1e+12, not nan"),
        ("huge", "must be -1e+12 to 1e+12, not 1e+308"),
        ("wait", "no result within 0.05 s"),
        ("shared call", "CancelledError"),
        ("exit", "no rating service is configured"),
        ("profile without rating", "rating"),
    ],
)
async def test_a_failed_lookup_uses_the_default(
    shard: Shard, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    async with (
        connect(shard.url, token=token_of("ann")) as ann,
        connect(shard.url, token=token_of("cid")) as cid,
    ):
        waiting = asyncio.create_task(ann.match("rated"))
        await eventually(lambda: bool(ann.queue_status and ann.queue_status.position))
        if how == "wait":
            monkeypatch.setattr("tickwire.server.placement.skill_lookup.SKILL_TIMEOUT_S", 0.05)
        with capture_logs() as logs:
            joined = await cid.match("rated", options={"how": how})
        await waiting
        assert skills_in(shard, joined.room_id) == {"ann": 1500, "cid": 1000}
        assert shard.parts.queue_service.skills.failures == 1
        (entry,) = (entry for entry in logs if entry["event"] == "skill_lookup_failed")
        assert (entry["player_id"], entry["default"]) == ("cid", 1000)
        assert words in entry["error"]


async def test_a_request_can_be_cancelled_during_the_lookup(shard: Shard) -> None:
    skills = shard.parts.queue_service.skills
    async with connect(shard.url, token=token_of("ann")) as ann:
        waiting = asyncio.create_task(ann.match("rated", options=WAITS))
        await eventually(lambda: len(skills) == 1)
        await ann.cancel_match()
        with pytest.raises(NotMatched):
            await waiting
        await eventually(lambda: len(skills) == 0)
        assert len(shard.parts.queue_service) == 0
        asyncio.create_task(ann.match("rated", options=WAITS)).add_done_callback(lambda task: task.exception())
        await eventually(lambda: len(skills) == 1)
    await eventually(lambda: len(skills) == 0)
    assert skills.failures == 0


async def test_a_lookup_that_catches_its_cancellation_has_no_effect(shard: Shard) -> None:
    service = shard.parts.queue_service
    async with raw_client(shard.url, hello(token=token_of("ann"))) as ann:
        await ann.next(Welcome)
        request = MatchRequest("rated", options=encode_payload({"how": "catch the cancellation"}))
        await ann.say(request)
        await eventually(lambda: len(service.skills) == 1)
        await ann.say(MatchCancel())
        await eventually(lambda: len(service.skills) == 0)
        assert (len(service), service.results["enqueued"]) == (0, 0)


async def test_a_request_for_another_mode_replaces_one_whose_skill_is_looked_up(shard: Shard) -> None:
    skills = shard.parts.queue_service.skills
    async with raw_client(shard.url, hello(token=token_of("ann"))) as ann, connect(shard.url) as guest:
        await ann.next(Welcome)
        await ann.say(MatchRequest("rated", options=encode_payload(WAITS)))
        assert (await ann.next(MatchStatus)).mode == "rated"
        await eventually(lambda: len(skills) == 1)
        await ann.say(MatchRequest("rated"))
        assert (await ann.next(MatchStatus)).state is QueueState.WAITING, "the same request again"
        await ann.say(MatchRequest("casual"))
        joined = await guest.match("casual")
        found = await ann.next(Redirect)
        assert found.room_type == "ring"
        await eventually(lambda: len(skills) == 0)
        assert list(skills_in(shard, joined.room_id).values()) == [0], "a guest has an empty profile"


async def test_each_cancel_during_a_lookup_gets_one_answer(shard: Shard) -> None:
    async with raw_client(shard.url, hello(token=token_of("ann"))) as ann:
        await ann.next(Welcome)
        await ann.say(MatchRequest("rated", options=encode_payload(WAITS)), MatchCancel(), MatchCancel())
        states = [(await ann.next(MatchStatus)).state for _ in range(3)]
        assert states == [QueueState.WAITING, QueueState.CANCELLED, QueueState.CANCELLED]


async def test_a_session_stays_on_its_shard_during_the_lookup(shard: Shard) -> None:
    service = shard.parts.queue_service
    async with connect(shard.url, token=token_of("ann")) as ann:
        waiting = asyncio.create_task(ann.match("rated", options=WAITS))
        await eventually(lambda: len(service.skills) == 1)
        (session,) = shard.parts.edge.registry
        assert service.is_bound(session)
        position = service.find_position(session)
        assert position is not None, "a room that moves with it takes a position along"
        assert position.skill == 1000
        assert not service.is_bound(session)
        await ann.cancel_match()
        with pytest.raises(NotMatched):
            await waiting


async def test_lookups_are_limited(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.server.placement.skill_lookup.LOOKUPS_MAX", 0)
    async with connect(shard.url, token=token_of("ann")) as ann:
        with pytest.raises(Refused) as refused:
            await ann.match("rated", timeout_s=20)
        assert refused.value.error.code is ErrorCode.UNAVAILABLE
