"""Why was player X disconnected at 12:03? The log has an answer for every way in which a player comes and goes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from tests.harness.polling import eventually, eventually_joins
from tests.harness.shard_process import ShardProcess, admin, running, with_short_lease
from tests.harness.tcp_proxy import TcpProxy
from tests.harness.tokens import SECRET, token_of, with_tokens
from tickwire.client.client import connect
from tickwire.client.errors import Refused
from tickwire.matchmaking import StaleLease
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

Line = MutableMapping[str, Any]


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    """Return what is logged from now on."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def only(lines: list[Line], event: str) -> Line:
    (found,) = [line for line in lines if line["event"] == event]
    return found


async def test_a_drop_that_resumed_is_two_lines_and_in_the_sessions_history(
    shard_settings: Settings, lines: list[Line]
) -> None:
    async with running(with_tokens(shard_settings)) as shard:
        async with connect(shard.url, token=token_of("ada")) as ada:
            joined = await ada.join("garden")
            await ada.drop()
            await ada.wait_for(lambda: ada.resumes == 1)
            (session,) = await admin(shard.parts.operations.port, "GET", "/sessions?player_id=ada")
            kinds = [entry.split()[1] for entry in session["history"]]
            assert kinds == ["opened", "seated", "disconnected", "resumed"]
        await eventually(lambda: any(line["event"] == "session_ended" for line in lines))
        dropped, resumed = only(lines, "session_disconnected"), only(lines, "session_resumed")
        assert dropped["player_id"] == resumed["player_id"] == "ada"
        assert dropped["reason"] == "the connection was lost"
        assert dropped["room_id"] == resumed["room_id"] == joined.room_id
        assert resumed["disconnected_s"] > 0
        assert [entry.split()[1] for entry in only(lines, "session_ended")["history"]][:4] == kinds


async def test_a_close_by_the_server_is_the_reason_of_the_disconnection(
    shard_settings: Settings, lines: list[Line]
) -> None:
    """A client that sends nothing is closed; its session waits for it."""
    edge = msgspec.structs.replace(shard_settings.edge, heartbeat_interval_s=0.3)
    async with running(msgspec.structs.replace(with_tokens(shard_settings), edge=edge)) as shard:
        async with connect(shard.url, token=token_of("ada")) as ada:
            await ada.join("garden")
            (session,) = list(shard.parts.edge.registry)
            session.slow_consumer("it takes too little")
            await ada.wait_for(lambda: ada.resumes == 1)
        assert only(lines, "session_disconnected")["reason"] == "it takes too little"


async def test_a_join_and_a_refused_join_are_lines_with_the_player(
    shard_settings: Settings, lines: list[Line]
) -> None:
    async with running(with_tokens(shard_settings)) as shard, connect(shard.url, token=token_of("ada")) as ada:
        with pytest.raises(Refused):
            await ada.join("no-such-type")
        joined = await ada.join("garden")
        refused, seated = only(lines, "session_refused"), only(lines, "session_seated")
        assert (refused["player_id"], refused["code"]) == ("ada", "NO_SUCH_ROOM_TYPE")
        assert refused["room_type"] == "no-such-type"
        assert (seated["player_id"], seated["room_id"]) == ("ada", joined.room_id)


async def test_a_room_that_closes_names_its_players(shard_settings: Settings, lines: list[Line]) -> None:
    async with running(with_tokens(shard_settings)) as shard, connect(shard.url, token=token_of("ada")) as ada:
        joined = await ada.join("garden")
        shard.parts.host.close(joined.room_id, "an operator has closed it")
        assert only(lines, "room_closed")["players"] == ["ada"]
        assert only(lines, "session_unseated")["reason"] == "an operator has closed it"


async def test_a_resume_token_that_leads_nowhere_is_a_line(shard: Shard, lines: list[Line]) -> None:
    async with connect(shard.url) as ada:
        (session,) = list(shard.parts.edge.registry)
        old = session.session_id
        session.end("an operator has ended it", counted_as="kicked")
        await ada.drop()
        await eventually(lambda: any(line["event"] == "session_not_found" for line in lines))
        missing = only(lines, "session_not_found")
        assert missing["session_id"] == old
        assert missing["reason"] == "the session has ended, or its shard is lost"


async def test_a_survivor_names_the_rooms_players_and_sessions_that_it_takes_over(
    shard_settings: Settings, tmp_path: Path
) -> None:
    environ = {
        "TICKWIRE__AUTH__SECRET": SECRET,
        "TICKWIRE__LOGGING__FORMAT": "json",
        "TICKWIRE__DRAIN_TIMEOUT_S": "0",
    }
    settings = with_short_lease(shard_settings)
    lost = ShardProcess(settings, tmp_path, environ=environ)
    shards = [lost]
    try:
        await lost.ready()
        async with (
            TcpProxy(lost.port) as proxy,
            connect(f"ws://127.0.0.1:{proxy.port}", token=token_of("ada")) as ada,
        ):
            joined = await eventually_joins(ada, "estate", "home")
            await ada.command("work")
            ticks = ada.world.tick
            await ada.wait_for(lambda: ada.world.tick > ticks + 40)  # the room has been saved since
            proxy.stall()
            lost.kill()
            survivor = ShardProcess(settings, tmp_path, environ=environ)
            shards.append(survivor)
            await survivor.ready()
            proxy.target_port = survivor.port
            proxy.reconnect()
            await ada.wait_for(lambda: ada.resumes == 1 and ada.is_connected, 40)
            await asyncio.to_thread(survivor.stop)
            logged = [json.loads(line) for line in survivor.log.read_text().splitlines()]
            (taken,) = [line for line in logged if line["event.action"] == "room_created"]
            assert taken["tickwire.restored"] is True
            assert taken["tickwire.players"] == ["ada"]
            (session_id,) = taken["tickwire.sessions"]
            of_ada = [line for line in logged if line.get("tickwire.session_id") == session_id]
            assert [line["event.action"] for line in of_ada][:2] == ["session_restored", "session_resumed"]
            assert {line["user.id"] for line in of_ada} == {"ada"}
            assert of_ada[1]["tickwire.disconnected_s"] > 0
            started = json.loads(lost.log.read_text().splitlines()[0])
            assert of_ada[0]["tickwire.from_shard"] == started["service.node.name"], "it names the lost shard"
            assert joined.room_id == taken["tickwire.room_id"]
    finally:
        for shard in shards:
            shard.kill()


async def test_both_shards_log_a_room_migration(shard_settings: Settings, lines: list[Line]) -> None:
    async with (
        running(with_tokens(shard_settings), "one") as one,
        running(with_tokens(shard_settings), "other") as other,
        connect(one.url, token=token_of("ada")) as ada,
    ):
        joined = await ada.join("duel")
        await one.drain()
        await ada.wait_for(lambda: ada.is_connected and ada.url == other.url)
        story = [line for line in lines if line.get("player_id") == "ada"]
        assert [line["event"] for line in story] == [
            "session_opened",
            "session_seated",
            "session_restored",
            "session_redirected",
            "session_ended",
            "session_resumed",
        ]
        assert {line["session_id"] for line in story} == {story[0]["session_id"]}
        assert (story[2]["from_shard"], story[2]["room_id"]) == ("one", joined.room_id)
        assert (story[3]["url"], story[3]["reason"]) == (other.url, "the room has moved to another shard")
        assert story[4]["result"] == "moved"


async def test_a_failed_migration_is_not_logged_as_a_move(
    shard_settings: Settings, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def withdrawn(room_id: str) -> int:
        raise StaleLease("it was withdrawn")

    monkeypatch.setattr("tickwire.server.migration.handoff_steps.CLAIM_TIMEOUT_S", 0.3)
    async with (
        running(with_tokens(shard_settings), "one") as one,
        running(with_tokens(shard_settings), "other") as other,
        connect(one.url, token=token_of("ada")) as ada,
    ):
        monkeypatch.setattr(other.parts.room_receiver._handoffs, "claim", withdrawn)
        joined = await ada.join("duel")
        room = one.parts.host.get(joined.room_id)
        assert room is not None
        (target,) = await one.parts.room_sender._ready_shards.find()
        assert not await one.parts.room_sender.migrate(room, target)
        await eventually(lambda: other.parts.room_receiver.results["failed"] == 1)
        story = [line["event"] for line in lines if line.get("player_id") == "ada"]
        assert story == ["session_opened", "session_seated"]


def test_the_documents_have_every_log_event_of_a_session() -> None:
    root = Path(__file__).parents[2]
    modules = ("session.py", "session_authentication.py", "message_handlers.py", "handshake.py", "seat_moves.py")
    source = "".join((root / "server" / "edge" / name).read_text() for name in modules)
    events = {f"session_{name}" for name in re.findall(r'\bnote\(\s*"(\w+)"', source)}
    events |= set(re.findall(r'log\.info\(\s*"(session_\w+)"', source))
    events |= {"session_opened", "session_resumed"}  # chosen by an expression
    documented = set(
        re.findall(r"^\| `(session_\w+)` \|", (root / "docs" / "operations.md").read_text(), re.MULTILINE)
    )
    assert documented == events
