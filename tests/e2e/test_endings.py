"""Clients learn why the game has removed them or has closed their room, and may then join again."""

from __future__ import annotations

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.raw_client import hello, raw_client
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, connect
from tickwire.schemas.messages import Join, Joined, Leave, Left, Welcome
from tickwire.server.config import Settings


@pytest.fixture
def settings(shard_settings: Settings) -> Settings:
    return msgspec.structs.replace(shard_settings, rooms=["tests.harness.timed_rooms"], auth=AUTH)


def record_endings(client: Client) -> list[str]:
    """Return a list to which the reasons are added for which the client leaves rooms."""
    reasons: list[str] = []
    client.on("left", reasons.append)
    return reasons


def event_names(client: Client) -> list[str]:
    return [event.name for event in client.events]


async def test_a_kicked_player_receives_the_reason_and_the_others_play_on(settings: Settings) -> None:
    async with (
        running(settings) as shard,
        connect(shard.url, token=token_of("ann")) as ann,
        connect(shard.url, token=token_of("bob")) as bob,
    ):
        anns, bobs = record_endings(ann), record_endings(bob)
        joined = await ann.join("alarm")
        await bob.join("alarm", room_id=joined.room_id)
        await ann.command("kick", {"player": "bob", "reason": "you were idle"})
        await bob.wait_for(lambda: bobs == ["you were idle"])
        assert bob.is_connected, "the session stays"
        await ann.wait_for(lambda: "left" in event_names(ann))
        await bob.join("alarm", room_id=joined.room_id)
        await ann.command("kick", {"player": "ann", "reason": "at your own request"})
        await ann.wait_for(lambda: anns == ["at your own request"])
        await bob.command("after", 0)
        await bob.wait_for(lambda: "rang" in event_names(bob))
        assert bobs == ["you were idle"]
        assert ann.core.mismatches == bob.core.mismatches == 0


async def test_a_player_kicked_in_on_join_receives_its_events_and_the_reason(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        reasons = record_endings(client)
        await client.join("alarm", options={"is_brief": True})
        await client.wait_for(lambda: reasons == ["the visit is over"])
        assert event_names(client)[0] == "hello"


async def test_players_of_a_closed_room_receive_its_last_events_and_the_reason(settings: Settings) -> None:
    async with (
        running(settings) as shard,
        connect(shard.url, token=token_of("ann")) as ann,
        connect(shard.url, token=token_of("bob")) as bob,
    ):
        anns, bobs = record_endings(ann), record_endings(bob)
        joined = await ann.join("alarm")
        await bob.join("alarm", room_id=joined.room_id)
        await ann.command("close", "the match is over")
        for client, reasons in ((ann, anns), (bob, bobs)):
            await client.wait_for(lambda reasons=reasons: reasons == ["the match is over"])  # type: ignore[misc]
            assert "closing" in event_names(client)
        await eventually(lambda: len(shard.parts.host) == 0)
        assert (await ann.join("alarm")).room_id != joined.room_id


async def test_a_durable_room_that_the_game_closes_is_saved(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as client:
        reasons = record_endings(client)
        joined = await client.join("alarm", name="home")
        await client.command("close", "good night")
        await client.wait_for(lambda: reasons == ["good night"])
        again = await client.join("alarm", name="home")
        assert again.room_id == joined.room_id, "restored from its save"
        assert again.tick >= joined.tick
        assert await client.command("pending") == []


async def test_a_disconnected_player_that_is_kicked_has_no_seat_when_it_returns(settings: Settings) -> None:
    async with (
        running(settings) as shard,
        connect(shard.url, token=token_of("ann")) as ann,
        connect(shard.url, token=token_of("bob")) as bob,
    ):
        bobs = record_endings(bob)
        joined = await ann.join("alarm")
        await bob.join("alarm", room_id=joined.room_id)
        await bob.drop()
        await ann.command("kick", {"player": "bob", "reason": "you were away"})
        await bob.wait_for(lambda: len(bobs) == 1)
        room = shard.parts.host.get(joined.room_id)
        assert room is not None
        assert set(room.room.players) == {"ann"}
        assert bobs == ["you were away"]


async def test_a_player_that_was_kicked_while_it_was_disconnected_receives_the_reason(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as ann:
        joined = await ann.join("alarm")
        async with raw_client(shard.url, hello(token=token_of("bob"))) as bob:
            welcome = await bob.next(Welcome)
            await bob.say(Join("alarm", room_id=joined.room_id))
            await bob.next(Joined)
            bob.cut()
        room = shard.parts.host.get(joined.room_id)
        assert room is not None
        await eventually(lambda: not room.room.players["bob"].is_connected)
        await ann.command("kick", {"player": "bob", "reason": "you were away"})
        await eventually(lambda: "bob" not in room.room.players)
        answers = ((joined.room_id, "you were away"), ("", ""), ("another", ""), (joined.room_id, "you were away"))
        for attempt, (room_id, reason) in enumerate(answers, 1):
            again = hello(token=token_of("bob"), resume_token=welcome.resume_token, room_id=room_id, attempt=attempt)
            async with raw_client(shard.url, again) as bob:
                welcome = await bob.next(Welcome)
                assert (welcome.room_id, welcome.left_reason) == ("", reason)
                bob.cut()


async def test_the_reason_of_an_earlier_seat_is_not_sent_after_another_join(settings: Settings) -> None:
    async with running(settings) as shard, connect(shard.url, token=token_of("ann")) as ann:
        joined = await ann.join("alarm")
        async with raw_client(shard.url, hello(token=token_of("bob"))) as bob:
            welcome = await bob.next(Welcome)
            await bob.say(Join("alarm", room_id=joined.room_id))
            await bob.next(Joined)
            await ann.command("kick", {"player": "bob", "reason": "you were idle"})
            await bob.next(Left)
            await bob.say(Join("alarm", room_id=joined.room_id))
            await bob.next(Joined)
            bob.cut()
        again = hello(token=token_of("bob"), resume_token=welcome.resume_token, room_id=joined.room_id, attempt=1)
        async with raw_client(shard.url, again) as bob:
            welcome = await bob.next(Welcome)
            assert (welcome.room_id, welcome.left_reason) == (joined.room_id, "")
            await bob.say(Leave())
            await bob.next(Left)  # the client loses its connection before it reads this
            bob.cut()
        again = hello(token=token_of("bob"), resume_token=welcome.resume_token, room_id=joined.room_id, attempt=2)
        async with raw_client(shard.url, again) as bob:
            welcome = await bob.next(Welcome)
            assert (welcome.room_id, welcome.left_reason) == ("", "")
