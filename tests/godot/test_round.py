"""A round in Godot, against a server: a join, inputs, commands, a cut, the resume, and equal worlds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.e2e.conftest import shard, shard_settings
from tests.godot.player import player_command
from tests.godot.scripts_project import create_scripts_project, errors_in, run_lines
from tests.harness.players import PlayerLog, PlayerProcess
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tokens import token_of, with_tokens
from tickwire.client import connect
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

__all__ = ["shard", "shard_settings"]  # fixtures, used here


def to_number(checksum: bytes) -> int:
    return int.from_bytes(checksum, "little")


async def test_round_agrees_with_the_python_client_through_a_cut(
    godot: list[str], tmp_path: Path, shard: Shard
) -> None:
    project = create_scripts_project(tmp_path)
    checksums: dict[int, int] = {}
    async with connect(shard.url) as watcher:
        watcher.on("state", lambda update: checksums.__setitem__(update.tick, to_number(watcher.world.checksum())))
        await watcher.join("garden", name="round")
        lines, output = await run_lines(godot, project, "round.gd", f"{shard.url}/", "round")
    assert [line for line in lines if "error" in line] == [], output
    assert {line for line in errors_in(output) if "'fails'" not in line} == set(), output
    done = next((line["done"] for line in lines if "done" in line), None)
    assert done is not None, output
    assert done["x"] == 24.0
    assert done["flowers"] == 3
    assert done["failure"] == ["CommandFailed", "INVALID_ARGUMENT"]
    assert done["seq_while_disconnected"] == 0
    assert done["events"], "a listener that fails does not stop the next one"
    assert (done["resumes"], done["sessions_lost"], done["mismatches"], done["resyncs"]) == (1, 0, 0, 0)
    assert done["has_rtt"]
    events = [line["event"] for line in lines if "event" in line]
    assert events == ["disconnected", "reconnected"]
    seen = {line["tick"]: line["crc"] for line in lines if "tick" in line}
    common = seen.keys() & checksums.keys()
    assert len(common) >= 20
    assert {tick: seen[tick] for tick in common} == {tick: checksums[tick] for tick in common}
    assert "left: true, room: <null>" in output
    assert {"closed": ["closed", "<null>", "Disconnected"]} in lines


async def test_refused_connections_have_the_reason(
    godot: list[str], tmp_path: Path, shard_settings: Settings
) -> None:
    project = create_scripts_project(tmp_path)
    async with running(with_tokens(shard_settings, guests=False)) as one:
        lines, output = await run_lines(godot, project, "refused.gd", f"{one.url}/", token_of("ann"))
    assert errors_in(output) == [], output
    assert lines == [
        {"guest": [None, "Refused", "UNAUTHORIZED"]},
        {"broken": [None, "Disconnected"]},
        {"no_server": [None, "ConnectFailed"]},
        {"player": True},
    ]


async def test_close_while_the_storage_loads_and_a_file_that_cannot_be_saved(
    godot: list[str], tmp_path: Path
) -> None:
    lines, output = await run_lines(godot, create_scripts_project(tmp_path), "storage.gd")
    assert lines == [
        {"open": [False, "Disconnected"]},
        {"state": "closed", "calls": ["load", "clear", "closed: the connection is lost: closed"]},
    ], output
    assert "the session cannot be saved in user://folder.json" in output


async def test_session_follows_its_room_to_another_shard(
    godot: list[str], tmp_path: Path, shard_settings: Settings
) -> None:
    assert godot
    settings = msgspec.structs.replace(shard_settings, rooms=["tests.harness.playground_rooms"])
    log = PlayerLog("godot")
    async with (
        running(settings) as one,
        running(settings) as other,
        PlayerProcess(log, player_command(tmp_path), f"{one.url}/", "drained") as player,
    ):
        await eventually(lambda: len(log.checksums) > 5, 20)
        await one.drain()
        await eventually(lambda: log.count("reconnected") == 1, 20)
        (simulation,) = other.parts.host
        simulation.room.is_ending = True  # type: ignore[attr-defined]
        await eventually(lambda: log.done is not None, 20)
        await player.wait_until_ended()
    assert log.done is not None
    assert (log.done.resumes, log.done.sessions_lost, log.done.mismatches) == (1, 0, 0)
