"""Invalid input receives the documented Error and close code and is counted; other clients are not affected."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

from tests.harness.lightweight_clients import masked
from tests.harness.polling import eventually
from tests.harness.raw_client import RawClient, hello, raw_client
from tests.harness.shard_process import running
from tests.harness.tokens import AUTH, token_of, with_tokens
from tickwire.client.client import Client, connect
from tickwire.client.errors import Disconnected
from tickwire.schemas import SCHEMA_VERSION, SCHEMA_VERSION_MIN
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.flat_tables import Reader
from tickwire.schemas.messages import (
    CLIENT_BODY,
    Command,
    Error,
    ErrorCode,
    Hello,
    Input,
    Join,
    Joined,
    MatchRequest,
    Message,
    Ping,
    Pong,
    Reply,
    Resync,
    StateFrame,
    Welcome,
    to_request_type,
)
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard

pytestmark = pytest.mark.usefixtures("no_collections")

HELLO = encode_client(Hello(SCHEMA_VERSION, "test"))


def raw(shard: Shard, *messages: Message) -> AbstractAsyncContextManager[RawClient]:
    """Connect and send Hello and these messages."""
    return raw_client(shard.url, hello(), *messages)


@pytest.fixture
async def bystander(shard: Shard) -> AsyncIterator[Client]:
    """A client in a room; it must still play, without a fault, at the end of the test."""
    async with connect(shard.url) as client:
        await client.join("garden")
        yield client
        tick = client.world.tick
        await client.send_input({"dx": 1.0})
        await client.wait_for(lambda: client.world.tick > tick)
        assert client.core.mismatches == client.core.resyncs == client.core.events_missed == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff" * 64,
        os.urandom(200),
        encode_client(Join("garden"))[:-5],
        encode_client(Command(1, "plant", b"abc"))[:24],
        bytes(16 * 1024),
    ],
    ids=["empty", "zero", "ones", "random", "truncated join", "truncated command", "zeros"],
)
async def test_undecodable_message_is_malformed_and_closes_the_connection(
    shard: Shard, bystander: Client, data: bytes
) -> None:
    async with raw(shard) as socket:
        await socket.next(Welcome)
        await socket.send(data)
        error = await socket.next(Error)
        assert error.code is ErrorCode.MALFORMED
        assert await socket.close_code() == 1008
    assert shard.parts.edge.counters.rejected["malformed"] == 1


async def test_a_text_message_is_refused_with_1003(shard: Shard, bystander: Client) -> None:
    async with raw(shard) as socket:
        await socket.send("hello")
        assert (await socket.next(Error)).code is ErrorCode.MALFORMED
        assert await socket.close_code() == 1003
    assert shard.parts.edge.counters.rejected["text"] == 1


async def test_a_message_that_is_too_big_is_refused_with_1009(shard: Shard, bystander: Client) -> None:
    async with raw(shard) as socket:
        await socket.next(Welcome)
        await socket.send(bytes(17 * 1024))
        assert await socket.close_code() == 1009


async def test_a_fragmented_message_is_put_together(shard: Shard, bystander: Client) -> None:
    async with raw(shard) as socket:
        await socket.next(Welcome)
        data = encode_client(Ping(7))
        await socket.send([data[:3], data[3:9], data[9:]])
        assert (await socket.next(Pong)).client_time_us == 7


async def test_a_message_type_of_a_newer_client_is_unsupported_and_the_connection_stays(
    shard: Shard, bystander: Client
) -> None:
    newer = bytearray(encode_client(Ping(7)))
    reader = Reader(bytes(newer))
    tag = reader.slots(reader.root())[0]
    assert newer[tag] == CLIENT_BODY.index(Ping) + 1
    newer[tag] = 200
    async with raw(shard) as socket:
        await socket.send(bytes(newer))
        assert (await socket.next(Error)).code is ErrorCode.UNSUPPORTED
        await socket.say(MatchRequest("nothing"))
        assert (await socket.next(Error)).code is ErrorCode.NO_SUCH_MODE
        await socket.say(Ping(9))
        assert (await socket.next(Pong)).client_time_us == 9


@pytest.mark.parametrize(
    ("request_message", "code"),
    [
        (Join("chess"), ErrorCode.NO_SUCH_ROOM_TYPE),
        (Join("garden", options=msgspec.msgpack.encode([1])), ErrorCode.MALFORMED),
        (MatchRequest("nothing"), ErrorCode.NO_SUCH_MODE),
        (Hello(SCHEMA_VERSION), ErrorCode.OUT_OF_ORDER),
    ],
    ids=["join", "join with wrong options", "match request", "second hello"],
)
async def test_error_names_the_request_that_failed(shard: Shard, request_message: Message, code: ErrorCode) -> None:
    async with raw(shard, request_message) as socket:
        error = await socket.next(Error)
        assert (error.code, error.request_type) == (code, to_request_type(type(request_message)))


async def test_welcome_names_the_rates(shard_settings: Settings) -> None:
    limited = msgspec.structs.replace(shard_settings, edge=EdgeSettings(messages_per_second_max=20))
    async with running(limited) as shard, raw(shard) as socket:
        welcome = await socket.next(Welcome)
        assert (welcome.messages_per_second_max, welcome.bytes_per_second_max) == (20, 64 * 1024)


async def test_every_command_above_the_rate_is_run_once_and_answered(shard_settings: Settings) -> None:
    limited = msgspec.structs.replace(shard_settings, edge=EdgeSettings(messages_per_second_max=20))
    async with running(limited) as shard, raw(shard, Join("garden")) as socket:
        await socket.next(Joined)
        for id in range(1, 51):
            await socket.say(Command(id, "planted"))
        for id in range(1, 51):
            reply = await socket.next(Reply)
            assert (reply.id, reply.ok) == (id, True)
        assert not shard.parts.edge.counters.rejected


async def test_old_schema_version_is_refused_with_the_version_to_upgrade_to(shard: Shard, bystander: Client) -> None:
    async with raw_client(shard.url) as socket:
        await socket.say(Hello(SCHEMA_VERSION_MIN - 1, "ancient"))
        error = await socket.next(Error)
        assert (error.code, error.upgrade_to) == (ErrorCode.UPGRADE_REQUIRED, SCHEMA_VERSION_MIN)
        assert await socket.close_code() == 4500


async def test_anything_before_hello_closes(shard: Shard, bystander: Client) -> None:
    async with raw_client(shard.url) as socket:
        await socket.say(Join("garden"))
        assert (await socket.next(Error)).code is ErrorCode.OUT_OF_ORDER
        assert await socket.close_code() == 1008


async def test_message_in_the_wrong_state_is_refused_and_the_connection_stays(
    shard: Shard, bystander: Client
) -> None:
    async with raw(shard, Hello(1), Command(1, "plant")) as socket:
        assert (await socket.next(Error)).code is ErrorCode.OUT_OF_ORDER
        reply = await socket.next(Reply)
        assert (reply.ok, reply.error) == (False, ErrorCode.OUT_OF_ORDER), "a command always gets its one Reply"
        await socket.say(Ping(1))
        await socket.next(Pong)


async def test_inputs_and_resyncs_after_the_room_has_closed_are_ignored(shard: Shard, bystander: Client) -> None:
    async with raw(shard, Input(1, 1, b"abcd"), Resync(0, 5), Ping(3)) as socket:
        await socket.next(Welcome)
        assert isinstance(await asyncio.wait_for(socket.any(), 20), Pong)


async def test_an_input_of_the_wrong_size_is_malformed(shard: Shard, bystander: Client) -> None:
    async with raw(shard, Join("garden")) as socket:
        await socket.next(Joined)
        await socket.say(Input(1, 1, b"x" * 40))
        assert (await socket.next(Error)).code is ErrorCode.MALFORMED
        assert await socket.close_code() == 1008


async def test_a_forged_ticket_is_unauthorized(shard: Shard, bystander: Client) -> None:
    async with raw(shard, Join("garden", ticket="test.AAAA.BBBB")) as socket:
        assert (await socket.next(Error)).code is ErrorCode.UNAUTHORIZED


async def test_options_that_are_no_map_are_malformed(shard: Shard, bystander: Client) -> None:
    async with raw(shard, Join("garden", options=msgspec.msgpack.encode([1]))) as socket:
        assert (await socket.next(Error)).code is ErrorCode.MALFORMED


async def test_a_resync_gets_a_keyframe(shard: Shard, bystander: Client) -> None:
    async with raw(shard, Join("garden")) as socket:
        first = await socket.next(StateFrame)
        assert first.age == 0
        await socket.say(Resync(0, first.tick))
        async with asyncio.timeout(20):
            while True:
                frame = await socket.next(StateFrame)
                if frame.age == 0:
                    break
    assert shard.parts.host.counters.resyncs == 1


async def test_too_many_messages_end_the_connection_and_the_session_is_resumed(shard_settings: Settings) -> None:
    limited = msgspec.structs.replace(shard_settings, edge=EdgeSettings(messages_per_second_max=20))
    async with running(limited) as shard:
        async with raw(shard) as socket:
            welcome = await socket.next(Welcome)
            for number in range(200):  # ten seconds' worth
                await socket.say(Ping(number))
            assert await socket.close_code(40) == 4004
        await eventually(lambda: shard.parts.edge.registry.disconnected_count == 1)
        async with raw_client(shard.url) as socket:
            await socket.say(Hello(SCHEMA_VERSION, resume_token=welcome.resume_token))
            again = await socket.next(Welcome)
            assert (again.session_id, again.generation) == (welcome.session_id, 2)


async def test_connection_without_hello_is_closed(shard_settings: Settings) -> None:
    edge = EdgeSettings(handshake_timeout_s=1.5)
    async with running(msgspec.structs.replace(shard_settings, edge=edge)) as shard:
        async with raw_client(shard.url) as socket:
            assert (await socket.next(Error)).code is ErrorCode.HANDSHAKE_TIMEOUT
            assert await socket.close_code() == 1008
        reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await asyncio.wait_for(reader.read(), 20) == b"", "a slow handshake is dropped"
        writer.close()


async def test_connections_above_the_limit_are_refused_with_retry_after(shard_settings: Settings) -> None:
    edge = EdgeSettings(connections_per_address_max=1)
    async with running(msgspec.structs.replace(shard_settings, edge=edge)) as shard, raw(shard) as first:
        await first.next(Welcome)
        with pytest.raises(InvalidStatus) as refused:
            async with raw(shard):
                pass
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS \r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    ],
    ids=["no upgrade", "post", "tls", "a header of a megabyte"],
)
async def test_request_without_a_websocket_handshake_is_refused(
    shard: Shard, bystander: Client, request_bytes: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port)
    writer.write(request_bytes)
    try:
        answer = await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        answer = b""
    assert not answer.startswith(b"HTTP/1.1 101")
    writer.close()
    await eventually(lambda: shard.parts.edge.connection_count == 1)


async def test_a_client_without_our_subprotocol_is_refused(shard: Shard, bystander: Client) -> None:
    with pytest.raises((InvalidHandshake, InvalidMessage)):
        async with open_websocket(shard.url):
            pass


async def test_client_lost_during_a_join_leaves_no_seat(shard_settings: Settings) -> None:
    edge = EdgeSettings(resume_window_s=0.5)
    async with running(msgspec.structs.replace(shard_settings, edge=edge)) as shard, connect(shard.url) as bystander:
        await bystander.join("garden")
        async with raw(shard) as socket:
            await socket.next(Welcome)
            await socket.say(Join("garden"))
            socket.cut()
        await eventually(lambda: shard.parts.edge.counters.ended["resume_window_over"] == 1)
        assert len(shard.parts.edge.registry) == 1
        assert sum(len(simulation.seats) for simulation in shard.parts.host) == 1


DEEP = b"\x91" * 5_000 + b"\x00"
BAD_PAYLOADS = {
    "deep": DEEP,
    "less deep": b"\x91" * 100 + b"\x00",
    "bad text": b"\xa1\xff",
    "bad key": b"\x81\x80\x00",
}


@pytest.mark.parametrize("name", BAD_PAYLOADS)
async def test_payloads_that_cannot_be_decoded_are_malformed_and_the_connection_stays(
    shard: Shard, bystander: Client, name: str
) -> None:
    data = BAD_PAYLOADS[name]
    async with raw(shard) as socket:
        for request_message in (
            Join("garden", options=b"\x81\xa1a" + data),
            Join("garden", labels=b"\x81\xa1a" + data),
            MatchRequest("versus", options=b"\x81\xa1a" + data),
            MatchRequest("versus", labels=b"\x81\xa1a" + data),
            MatchRequest("versus", latencies=b"\x81\xa1a" + data),
        ):
            await socket.say(request_message)
            error = await socket.next(Error)
            assert error.code is ErrorCode.MALFORMED, error.message
        await socket.say(Join("garden"))
        await socket.next(Joined)
        await socket.say(Command(1, "plant", data))
        reply = await socket.next(Reply)
        assert (reply.id, reply.ok) == (1, False)
        assert reply.error in (ErrorCode.MALFORMED, ErrorCode.INVALID_ARGUMENT)
        await socket.say(Ping(9))
        await socket.next(Pong)
    async with raw(shard) as socket:
        await socket.say(Join("pulse"))
        await socket.next(Joined)
        await socket.say(Command(1, "echo", data))
        reply = await socket.next(Reply)
        assert (reply.id, reply.ok, reply.error) == (1, False, ErrorCode.MALFORMED)
        await socket.say(Ping(9))
        await socket.next(Pong)


def jwt_of(header: bytes) -> bytes:
    """Return a token with this header, unsigned."""
    return b"Bearer " + base64.urlsafe_b64encode(header).rstrip(b"=") + b".e30.c2ln"


BAD_TOKENS = {
    "no ascii": b"Bearer \xff\xfe.\x80.x",
    "deep": jwt_of(b"[" * 2_900),
    "deep alg": jwt_of(b'{"alg":' + b"[" * 1_000 + b"]" * 1_000 + b"}"),
    "key id": jwt_of(b'{"alg":"HS256","kid":[1]}'),
    "empty": b"Bearer ..",
    "five parts": b"Bearer a.b.c.d.e",
}


@pytest.mark.parametrize("header", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_a_token_that_cannot_be_read_is_unauthorized(shard_settings: Settings, header: bytes) -> None:
    async with running(with_tokens(shard_settings)) as shard:
        reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tickwire.1\r\n"
            b"Authorization: " + header + b"\r\n\r\n" + masked(HELLO)
        )
        async with asyncio.timeout(20):
            await reader.readuntil(b"\r\n\r\n")
            head = await reader.readexactly(2)
            size = head[1] if head[1] < 126 else int.from_bytes(await reader.readexactly(2), "big")
            error = decode_server(await reader.readexactly(size))
        assert isinstance(error, Error)
        assert error.code is ErrorCode.UNAUTHORIZED, error.message
        writer.transport.abort()


async def resumed(shard: Shard, token: str, attempt: int, jwt: str = "") -> Welcome | Error:
    """Say Hello with a resume token; return the answer, and drop the connection."""
    async with raw_client(shard.url, hello(token=jwt, resume_token=token, attempt=attempt)) as socket:
        answer = await asyncio.wait_for(socket.any(), 20)
        socket.cut()
    assert isinstance(answer, Welcome | Error)
    return answer


async def test_stolen_resume_token_does_not_lock_out_its_owner(shard_settings: Settings) -> None:
    jwt = token_of("ada")
    async with running(with_tokens(shard_settings)) as shard:
        first = await resumed(shard, "", 1, jwt)
        assert isinstance(first, Welcome)
        for attempt in (2**32 - 1, 0):
            found = await resumed(shard, first.resume_token, attempt)
            assert isinstance(found, Welcome)
            assert found.session_id != first.session_id, "the token alone is not enough"
        again = await resumed(shard, first.resume_token, 2, jwt)
        assert isinstance(again, Welcome)
        assert (again.session_id, again.generation > 1) == (first.session_id, True)


async def test_hello_attempts_are_compared_only_while_one_may_be_in_flight(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await resumed(shard, "", 1)
    assert isinstance(first, Welcome)
    found = await resumed(shard, first.resume_token, 2**32 - 1)  # a guest has nothing to show but the token
    assert isinstance(found, Welcome)
    assert found.session_id == first.session_id
    delayed = await resumed(shard, first.resume_token, 2)
    assert isinstance(delayed, Error)
    assert delayed.code is ErrorCode.REPLACED
    monkeypatch.setattr("tickwire.server.edge.generations.ATTEMPT_S", 0.0)
    again = await resumed(shard, first.resume_token, 3)
    assert isinstance(again, Welcome)
    assert again.session_id == first.session_id


@asynccontextmanager
async def outdated_token(shard_settings: Settings, player_id: str) -> AsyncIterator[tuple[Shard, Client, str, str]]:
    """Run a shard with a player who has resumed twice; yield the player's first resume token and the JWT, too.

    Args:
        player_id: empty for a guest.
    """
    jwt = token_of(player_id) if player_id else ""
    edge = msgspec.structs.replace(shard_settings.edge, duplicate_sessions="replace")
    async with (
        running(msgspec.structs.replace(shard_settings, auth=AUTH, edge=edge)) as shard,
        connect(shard.url, token=jwt) as owner,
    ):
        await owner.join("garden")
        token = owner.core.resume_token
        for resumes in (1, 2):
            await owner.drop()
            await owner.wait_for(lambda resumes=resumes: owner.is_connected and owner.resumes == resumes)
        await eventually(lambda: owner.core.resume_token != token)
        yield shard, owner, token, jwt


@pytest.mark.parametrize("player_id", ["ada", ""])
async def test_outdated_resume_token_does_not_end_the_session(shard_settings: Settings, player_id: str) -> None:
    async with outdated_token(shard_settings, player_id) as (shard, owner, token, _):
        (session,) = shard.parts.edge.registry
        session_id, tick = session.session_id, owner.world.tick
        for attempt in (0, 1, 2**32 - 1):
            found = await resumed(shard, token, attempt)
            assert isinstance(found, Welcome)
            assert found.session_id != session_id
        await owner.wait_for(lambda: owner.world.tick > tick + 5)
        assert shard.parts.edge.registry.find_by_player(session.player_id) == [session]
        assert (owner.resumes, owner.sessions_lost) == (2, 0)


async def test_outdated_resume_token_with_a_valid_jwt_starts_a_session_that_replaces_the_old(
    shard_settings: Settings,
) -> None:
    async with outdated_token(shard_settings, "ada") as (shard, owner, token, jwt):
        (replaced,) = shard.parts.edge.registry.find_by_player("ada")
        other = await resumed(shard, token, 1, jwt)
        assert isinstance(other, Welcome)
        assert other.session_id != replaced.session_id
        assert replaced.is_over
        (session,) = shard.parts.edge.registry.find_by_player("ada")
        assert session.session_id == other.session_id
        with pytest.raises(Disconnected):
            await owner.wait_for(lambda: False)
