"""`tickwire connect` opens a session as a player does, or says why none can be opened."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec
import pytest

from benchmarks.certificates import make_certificate
from tests.harness.scripted_server import server
from tests.harness.shard_process import running
from tickwire.server.cli.player_check import PlayerCheckFailed, check_player
from tickwire.server.config import Settings
from tickwire.server.dev.local_stores import free_port
from tickwire.server.edge.auth.authenticator import issue_token
from tickwire.server.edge.auth.settings import AuthSettings

SECRET = "a secret that is shared with the issuer"


async def test_a_guest_opens_a_session_and_ends_it(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard:
        assert await check_player(shard.url, "", 30) == f"{shard.url}: a session was opened"
        assert len(shard.parts.edge.registry) == 0


async def test_a_shard_that_requires_a_token_is_reached(shard_settings: Settings) -> None:
    strict = msgspec.structs.replace(shard_settings, auth=AuthSettings(guests=False, secret=SECRET))
    async with running(strict) as shard:
        assert "requires a token" in await check_player(shard.url, "", 30)
        token = issue_token(strict.auth, "somebody", ttl_s=60, now_s=1e9)
        with pytest.raises(PlayerCheckFailed, match="UNAUTHORIZED"):
            await check_player(shard.url, token, 30)


async def test_an_untrusted_certificate_is_reported_after_the_timeout(tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*make_certificate(tmp_path))
    async with server(lambda peer: peer.welcome(), tls=tls) as url:
        with pytest.raises(PlayerCheckFailed, match=r"no session within 4 s: .*certificate verify failed"):
            await check_player(url, "", 4)


async def test_a_server_that_is_not_reached_is_tried_until_the_timeout() -> None:
    with pytest.raises(PlayerCheckFailed, match="no session within 2 s: cannot connect"):
        await check_player(f"ws://127.0.0.1:{free_port()}", "", 2)
