"""The log of a shard: one line per ended session, by ECS, without secrets."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest

from tests.harness.shard_process import KEY, ShardProcess
from tickwire.client.client import connect
from tickwire.client.errors import CommandFailed, Refused
from tickwire.server.config import Settings
from tickwire.server.edge.auth.authenticator import issue_token
from tickwire.server.edge.auth.settings import AuthSettings

SECRET = "a-secret-that-signs-the-tokens-of-players"
OPERATIONS = "a-token-that-opens-the-operations-port"


async def test_session_is_logged_in_one_line_without_secrets(shard_settings: Settings, tmp_path: Path) -> None:
    """Covers a join, a lost connection, an invalid token, an exception of a game, and the end of the session."""
    environ = {
        "TICKWIRE__LOGGING__FORMAT": "json",
        "TICKWIRE__LOGGING__LEVEL": "debug",
        "TICKWIRE__AUTH__SECRET": SECRET,
        "TICKWIRE__OPERATIONS__TOKEN": OPERATIONS,
    }
    mongo_url = shard_settings.mongo.url + "&appname=tickwire"
    settings = msgspec.structs.replace(
        shard_settings, mongo=msgspec.structs.replace(shard_settings.mongo, url=mongo_url)
    )
    shard = ShardProcess(settings, tmp_path, environ=environ)
    token = issue_token(AuthSettings(secret=SECRET), "ada", ttl_s=60, now_s=time.time())
    secrets = {SECRET, OPERATIONS, KEY, token}
    try:
        await shard.ready()
        async with connect(shard.url, token=token) as ada:
            joined = await ada.join("garden")
            secrets.add(ada.core.resume_token)
            await ada.drop()
            await ada.wait_for(lambda: ada.resumes == 1)
            secrets.add(ada.core.resume_token)
            with pytest.raises(CommandFailed):
                await ada.command("fail")
        with pytest.raises(Refused):
            async with connect(shard.url, token=token[:-3] + "abc", reconnect_s=0):
                pass
    finally:
        await asyncio.to_thread(shard.stop)
    text = shard.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    (ended,) = [line for line in lines if line["event.action"] == "session_ended"]
    assert ended["user.id"] == "ada"
    assert ended["tickwire.connections"] == 2
    assert ended["tickwire.last_room_id"] == joined.room_id
    assert ended["tickwire.duration_s"] > 0
    assert ended["service.node.name"].startswith("shard-")
    assert all(line["ecs.version"] and line["log.level"] and line["@timestamp"].endswith("Z") for line in lines)
    assert {"session_opened", "session_seated", "session_resumed"} <= {line["event.action"] for line in lines}
    assert len(secrets) == 6
    assert [secret for secret in secrets if secret in text] == []
