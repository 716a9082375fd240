"""The Python client of accounts with a process of `tickwire api` and shards on the same stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.harness.api_process import ApiProcess
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.client import AccountClient, ApiError, NotLoggedIn, Refused, connect
from tickwire.client.connection_state import ConnectionState
from tickwire.server.config import Settings
from tickwire.server.shard import Shard
from tickwire.services.accounts.settings import AccountSettings

SECRET = "a secret of the fleet of 32 characters or more"


class MemoryStorage:
    """A storage that outlives its client."""

    def __init__(self) -> None:
        self.text: str | None = None

    def load(self) -> str | None:
        return self.text

    def save(self, text: str) -> None:
        self.text = text

    def clear(self) -> None:
        self.text = None


@pytest.fixture
async def shard(shard_settings: Settings) -> AsyncIterator[Shard]:
    settings = msgspec.structs.replace(
        shard_settings,
        auth=msgspec.structs.replace(shard_settings.auth, guests=False, accounts=True),
        accounts=AccountSettings(secret=SECRET),
    )
    async with running(settings) as shard:
        yield shard


@pytest.fixture
async def api_url(shard: Shard, shard_settings: Settings, tmp_path: Path) -> AsyncIterator[str]:
    process = ApiProcess(
        shard_settings,
        tmp_path,
        {
            "TICKWIRE__ACCOUNTS__SECRET": SECRET,
            "TICKWIRE__ACCOUNTS__PASSWORDS__MEMORY_KIB": "8192",
            "TICKWIRE__API__PLAYER_URL": shard.url,
        },
    )
    try:
        await process.ready()
        yield process.url
    finally:
        process.stop()


async def test_a_player_begins_with_the_device_and_continues_elsewhere(api_url: str, shard: Shard) -> None:
    phone = AccountClient(api_url, storage=MemoryStorage())
    assert await phone.login_device()
    async with phone.connect() as client:
        await client.join("garden")
        (session,) = shard.parts.sessions
        assert session.player_id == phone.player_id
        assert not session.is_guest
    await phone.link_email("ann@x.example", "correct horse")

    tablet = AccountClient(api_url, storage=MemoryStorage())
    assert await tablet.login_device()
    assert tablet.player_id != phone.player_id
    assert not await tablet.login_email("Ann@X.example", "correct horse")
    assert tablet.player_id == phone.player_id
    account = await tablet.get_account()
    assert {one["provider"] for one in account.identities} == {"device", "email"}
    async with phone.connect() as first, tablet.connect() as second:
        await second.join("garden")
        await eventually(lambda: first.state is ConnectionState.CLOSED, what="the older session is replaced")


async def test_a_login_survives_a_restart_and_ends_everywhere(api_url: str, shard: Shard) -> None:
    storage = MemoryStorage()
    first = AccountClient(api_url, storage=storage)
    await first.login_device()
    again = AccountClient(api_url, storage=storage)
    assert await again.restore()
    assert again.player_id == first.player_id
    async with again.connect() as client:
        await again.logout(everywhere=True)
        await eventually(lambda: client.state is ConnectionState.CLOSED, what="the session ends on the shard")
    with pytest.raises(NotLoggedIn):
        await again.token()
    assert not await again.login_device(), "the account of the device is the same"
    assert again.player_id == first.player_id


async def test_a_merged_and_a_deleted_account_end(api_url: str, shard: Shard) -> None:
    mine, other = AccountClient(api_url), AccountClient(api_url)
    await mine.login_device()
    await other.login_device()
    other_login = other._login.saved
    with pytest.raises(ApiError) as taken:
        await mine._link("device", {"device_id": other_login.device_id, "secret": other_login.device_secret})
    assert taken.value.code == "IDENTITY_TAKEN"
    await mine.merge(other)
    assert len((await mine.get_account()).identities) == 2
    assert mine.player_id in await mine.export()
    token = await mine.token()
    await mine.delete()
    assert mine.player_id == ""

    async def is_refused() -> bool:
        try:
            async with connect(shard.url, token=token):
                return False
        except Refused:
            return True

    async with asyncio.timeout(20):
        while not await is_refused():  # the shards poll the revocation
            await asyncio.sleep(0.1)
