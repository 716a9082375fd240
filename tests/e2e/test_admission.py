"""Admission control: rates and limits for each address, without an effect on connected players."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Origin, Subprotocol

from benchmarks.certificates import make_certificate
from tests.harness.lightweight_clients import crowd
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tokens import SECRET, token_of
from tickwire.client import connection_machine
from tickwire.client.client import Disconnected, Refused, connect
from tickwire.client.connection import open_socket
from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.messages import Error, ErrorCode, Hello, Ping, Welcome
from tickwire.server.config import Settings
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard

OURS = [Subprotocol(SUBPROTOCOL)]
PATIENT = {"admission_timeout_s": 50.0, "handshake_timeout_s": 55.0}


def changed(settings: Settings, *, auth: AuthSettings | None = None, **edge: Any) -> Settings:
    return msgspec.structs.replace(settings, auth=auth or AuthSettings(), edge=EdgeSettings(**edge))


# -- tokens ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "rubbish", token_of("alice", ttl_s=-60)], ids=["none", "rubbish", "expired"])
async def test_connection_without_a_valid_token_is_refused(shard_settings: Settings, token: str) -> None:
    settings = changed(shard_settings, auth=AuthSettings(secret=SECRET, guests=False))
    async with running(settings) as shard:
        with pytest.raises(Refused) as refused:
            async with connect(shard.url, token=token):
                pass
        assert refused.value.error.code is ErrorCode.UNAUTHORIZED
        assert not refused.value.error.retryable
        assert shard.parts.edge.counters.closed["unauthorized"] == 1
        assert len(shard.parts.edge.registry) == 0


async def test_token_is_sent_in_hello_or_header_and_in_the_url_only_if_configured(shard_settings: Settings) -> None:
    auth = AuthSettings(secret=SECRET, guests=False)
    bearer = {"Authorization": f"Bearer {token_of('alice')}"}
    for in_query in (False, True):
        async with running(
            changed(shard_settings, auth=auth, token_in_query=in_query, duplicate_sessions="allow")
        ) as shard:
            async with connect(shard.url, token=token_of("alice")):
                assert {session.player_id for session in shard.parts.edge.registry} == {"alice"}
            for url, headers, wanted in (
                (shard.url, bearer, Welcome),
                (f"{shard.url}/?token={token_of('alice')}", {}, Welcome if in_query else Error),
            ):
                async with open_websocket(url, subprotocols=OURS, additional_headers=headers) as socket:
                    await socket.send(encode_client(Hello(SCHEMA_VERSION)))
                    answer = await socket.recv()
                    assert isinstance(answer, bytes)
                    assert isinstance(decode_server(answer), wanted)


# -- where from -----------------------------------------------------------------------------------------------


async def test_a_foreign_origin_is_refused_and_its_own_and_listed_ones_are_not(shard_settings: Settings) -> None:
    async with running(changed(shard_settings, origins=["https://game.example"])) as shard:
        own = shard.url.replace("ws://", "http://")
        for origin in (None, own, "https://game.example"):
            async with open_websocket(shard.url, subprotocols=OURS, origin=origin and Origin(origin)):
                pass
        with pytest.raises(InvalidStatus) as refused:
            async with open_websocket(shard.url, subprotocols=OURS, origin=Origin("https://evil.example")):
                pass
        assert refused.value.response.status_code == 403
        assert shard.parts.edge.counters.refused["origin"] == 1


async def test_limits_by_address_see_through_trusted_proxies_only(shard_settings: Settings) -> None:
    for proxies, status in ((["127.0.0.0/8"], 101), ([], 429)):
        settings = changed(shard_settings, trusted_proxies=proxies, connections_per_address_max=1)
        async with (
            running(settings) as shard,
            open_websocket(shard.url, subprotocols=OURS, additional_headers={"X-Forwarded-For": "1.1.1.1"}),
        ):
            assert await _status(shard.url, {"X-Forwarded-For": "2.2.2.2"}) == status


async def _status(url: str, headers: dict[str, str]) -> int:
    try:
        async with open_websocket(url, subprotocols=OURS, additional_headers=headers):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae",
    ],
    ids=["version 1", "version 2"],
)
async def test_proxy_protocol_header_sets_the_client_address(shard_settings: Settings, header: bytes) -> None:
    settings = changed(shard_settings, trusted_proxies=["127.0.0.0/8"], proxy_protocol=True)
    async with running(settings) as shard:
        request = (
            f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        ).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port)
        for at in range(len(header)):
            writer.write(header[at : at + 1])
            await asyncio.sleep(0)
        writer.write(request)
        assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 101")
        assert [connection.address for connection in shard.parts.edge.connections] == ["1.2.3.4"]
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port)
        writer.write(request)
        assert await _read_all(reader) == b"", "a proxy that says nothing is not believed to be one"
        writer.close()
        assert shard.parts.edge.counters.refused["proxy_header"] == 1


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_players_connect_over_ipv6(shard_settings: Settings) -> None:
    listen = msgspec.structs.replace(shard_settings.listen, host="::1")
    async with running(msgspec.structs.replace(shard_settings, listen=listen)) as shard, connect(shard.url) as client:
        assert shard.url.startswith("ws://[::1]:")
        await client.join("garden")


# -- how fast -------------------------------------------------------------------------------------------------


async def test_three_hundred_concurrent_connects_are_admitted_in_turn_without_a_late_tick(
    shard_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_machine, "CONNECT_MS_MAX", 60_000)  # the clients share one loop with the shard
    async with (
        running(changed(shard_settings, handshakes_per_second_max=150, **PATIENT)) as shard,
        crowd(shard.parts.edge.port, 20),
    ):
        loop = asyncio.get_running_loop()
        started, arrived = loop.time(), []

        async def come(number: int) -> None:
            async with connect(shard.url):
                arrived.append(number)
                await asyncio.sleep(0.1)

        coming = [asyncio.create_task(come(number)) for number in range(300)]
        await asyncio.gather(*coming)
        assert loop.time() - started > 300 / 150 - 0.2, "no faster than the gate"
        assert sorted(arrived) == list(range(300))
        assert shard.parts.edge.counters.handshakes == 320
        assert not shard.parts.edge.counters.refused


async def test_connection_beyond_the_admission_timeout_receives_retry_after(shard_settings: Settings) -> None:
    settings = changed(shard_settings, handshakes_per_second_max=10, admission_timeout_s=1.0)
    async with running(settings) as shard:
        found: list[Any] = []

        async def come(number: int) -> None:
            try:
                local = (f"127.0.1.{number + 1}", 0)  # a single address receives half of the rate
                async with open_websocket(shard.url, subprotocols=OURS, local_addr=local):
                    found.append("in")
            except InvalidStatus as refused:
                found.append((refused.response.status_code, refused.response.headers["Retry-After"]))
            except (InvalidHandshake, OSError, EOFError):
                found.append("gone")  # the answer may be lost when the refusal comes before the request

        await asyncio.gather(*(come(number) for number in range(40)))
        assert found.count("in") >= 10
        assert shard.parts.edge.counters.refused["throttled"] == 40 - found.count("in") > 0
        assert set(found) <= {"in", "gone", (503, "1")}


async def test_asyncio_client_reconnects_after_a_retryable_goodbye(shard_settings: Settings) -> None:
    async with running(changed(shard_settings, connections_max=1)) as shard, connect(shard.url) as first:
        with pytest.raises(Disconnected) as refused:
            await open_socket(shard.url, tls=None)
        assert refused.value.may_return
        assert refused.value.retry_after_s == 5
        assert first.is_connected


async def test_too_many_bytes_a_second_end_the_connection(shard_settings: Settings) -> None:
    settings = changed(shard_settings, bytes_per_second_max=1000)
    async with (
        running(settings) as shard,
        open_websocket(shard.url, subprotocols=OURS) as socket,
    ):
        await socket.send(encode_client(Hello(SCHEMA_VERSION)))
        await socket.recv()
        for _ in range(300):
            await socket.send(encode_client(Ping(7)))
        async with asyncio.timeout(20):
            while True:
                data = await socket.recv()
                assert isinstance(data, bytes)
                message = decode_server(data)
                if isinstance(message, Error):
                    break
        assert message.code is ErrorCode.RATE_LIMITED
        assert message.retry_after_ms == 1000
        assert shard.parts.edge.counters.closed["flood"] == 1


# -- TLS ------------------------------------------------------------------------------------------------------


def trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    return context


async def test_a_changed_certificate_is_loaded_without_closing_connections(
    shard_settings: Settings, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    listen = msgspec.structs.replace(
        shard_settings.listen, certificate=str(certificate), key=str(key), plaintext=False
    )
    async with running(msgspec.structs.replace(shard_settings, listen=listen)) as shard:
        assert shard.url.startswith("wss://")
        before = trusting(certificate)
        async with connect(shard.url, tls=before) as client:
            await client.join("garden")
            make_certificate(tmp_path)
            certificates = shard.parts.edge.certificates
            assert certificates is not None
            await eventually(lambda: certificates.reloads == 1)
            async with connect(shard.url, tls=trusting(certificate)) as other:
                await other.join("garden")
            with pytest.raises(Disconnected):
                async with connect(shard.url, tls=before):
                    pass
            await client.command("planted")
            assert (client.resumes, client.sessions_lost) == (0, 0)


async def test_a_tls_handshake_that_never_ends_is_dropped(shard_settings: Settings, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    settings = changed(shard_settings, handshake_timeout_s=0.5, admission_timeout_s=0.2)
    listen = msgspec.structs.replace(settings.listen, certificate=str(certificate), key=str(key))
    async with running(msgspec.structs.replace(settings, listen=listen)) as shard:
        for data in (b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.edge.port)
            writer.write(data)
            await _read_all(reader)
            writer.close()
        await eventually(lambda: shard.parts.edge.connection_count == 0)
        assert shard.parts.edge.counters.refused["tls"] == 3


# -- a shard under attack, and a crowd that plays on ----------------------------------------------------------


@pytest.fixture
async def attacked(shard_settings: Settings) -> Any:
    """Its time limits are short for those who arrive after the crowd, which a loaded machine may seat slowly."""
    settings = changed(shard_settings, close_timeout_s=0.5)
    async with running(settings) as shard, crowd(shard.parts.edge.port, 20):
        edge = shard.parts.edge
        edge.settings = msgspec.structs.replace(edge.settings, handshake_timeout_s=1.0)
        yield shard


async def test_slowloris_requests_delay_no_other_request(attacked: Shard) -> None:
    async def drip() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", attacked.parts.edge.port)
        try:
            for octet in b"GET / HTTP/1.1\r\nHost: x\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
                writer.write(bytes((octet,)))
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            return
        finally:
            writer.close()

    await asyncio.gather(*(drip() for _ in range(50)))
    await eventually(lambda: attacked.parts.edge.counters.refused["handshake_timeout"] == 50)
    await eventually(lambda: attacked.parts.edge.connection_count == 20)


async def test_half_open_connections_are_dropped(attacked: Shard) -> None:
    writers = [(await asyncio.open_connection("127.0.0.1", attacked.parts.edge.port))[1] for _ in range(50)]
    await eventually(lambda: attacked.parts.edge.counters.refused["handshake_timeout"] == 50)
    for writer in writers:
        writer.close()
    await eventually(lambda: attacked.parts.edge.connection_count == 20)


async def test_flood_of_silent_connects_does_not_block_players(attacked: Shard) -> None:
    async def knock() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", attacked.parts.edge.port)
        writer.transport.abort()

    await asyncio.gather(*(knock() for _ in range(500)))
    await eventually(lambda: attacked.parts.edge.connection_count == 20 and not attacked.parts.edge.waiting_count)
    async with connect(attacked.url) as client:
        await client.join("garden")


async def test_compression_is_not_taken_up_and_a_bomb_is_not_unpacked(attacked: Shard) -> None:
    async with open_websocket(attacked.url, subprotocols=OURS, compression="deflate") as socket:
        assert "permessage-deflate" not in str(socket.response.headers if socket.response else "")
        bomb = b"\xc2\x85\0\0\0\0" + b"\xec\xc1\x01\x01\0"  # reserved bit 1: "this is compressed"
        socket.transport.write(bomb)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 20)
        assert socket.close_code == 1002


async def test_a_header_of_a_megabyte_is_cut_off(attacked: Shard) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", attacked.parts.edge.port)
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000)
    assert not (await _read_all(reader)).startswith(b"HTTP/1.1 101")
    writer.close()
    await eventually(lambda: attacked.parts.edge.connection_count == 20)
