"""Sessions whose shard is gone: what a shard answers to a client that names a room of another shard."""

from __future__ import annotations

import pytest

from tests.harness.fleets import fleet
from tests.harness.raw_client import hello, raw_client
from tickwire.client import Refused, connect
from tickwire.matchmaking import Placement, PlaceRequest, ShardInfo
from tickwire.schemas.messages import Error, ErrorCode, Join, Welcome
from tickwire.server.config import Settings
from tickwire.server.errors import Unavailable
from tickwire.server.shard import Shard

GHOST = "ghost"


async def room_of_ghost(shard: Shard, url: str) -> Placement:
    """Create a room on a shard that runs nowhere, as the directory has it just after the shard was killed."""
    matchmaker = shard.parts.matchmaker
    await matchmaker.directory.register(ShardInfo(GHOST, url, "1", room_types=("garden",)))
    for number in range(100):
        request = PlaceRequest(room_type="garden", players=("ann",), shard_id=GHOST, seats=4, name=f"plot {number}")
        placed = await matchmaker.placement.place(request)
        if placed.shard_id == GHOST:
            return placed
    raise AssertionError("no room was created on the shard")


async def test_client_is_not_redirected_to_the_shard_that_it_asks(shard_settings: Settings) -> None:
    """A shard that was started again at its address would redirect the clients of its predecessor to itself."""
    async with fleet(shard_settings, 1) as (one,):
        placed = await room_of_ghost(one, one.url)
        with pytest.raises(Unavailable) as refused:
            await one.parts.session_recovery.find(placed.room_id, "session", GHOST)
        assert 1000 < refused.value.retry_after_ms <= 15_000, "when the lease has expired"
        assert await one.parts.session_recovery.find("", "session", GHOST) is None, "no room, and its shard is gone"


async def test_join_at_a_shard_that_was_started_again_at_its_address(shard_settings: Settings) -> None:
    """The client would follow Redirects to the same address, until it gives up."""
    async with fleet(shard_settings, 1) as (one,):
        placed = await room_of_ghost(one, one.url)
        async with connect(one.url) as client:
            for number in range(200, 203):
                joined = await client.join("garden", name=f"plot {number}")
                assert one.parts.host.get(joined.room_id) is not None
                await client.leave()
            with pytest.raises(Refused) as refused:
                await client.join("garden", name=placed.name)
            assert refused.value.error.retryable, "its lease has to expire first"
            assert client.sessions_lost == 0


async def test_ticket_for_a_shard_that_was_started_again_at_its_address(shard_settings: Settings) -> None:
    async with fleet(shard_settings, 1) as (one,):
        placed = await room_of_ghost(one, one.url)
        ticket = one.parts.join_service.tickets.create(placed, "ann", is_guest=True)
        redirect = one.parts.join_service.tickets.create_redirect(ticket, one.url)
        async with raw_client(one.url, hello()) as client:
            await client.next(Welcome)
            await client.say(Join("garden", ticket=redirect.ticket))
            answer = await client.any()
            assert isinstance(answer, Error)
            assert answer.code is ErrorCode.NO_SUCH_ROOM


async def test_client_is_redirected_to_the_shard_of_its_room(shard_settings: Settings) -> None:
    async with fleet(shard_settings, 1) as (one,):
        placed = await room_of_ghost(one, "ws://elsewhere")
        found = await one.parts.session_recovery.find(placed.room_id, "session", GHOST)
        assert found is not None
        assert (found.url, found.is_resume) == ("ws://elsewhere", True)
