"""A round in Godot, against a server: a join, inputs, commands, a cut, the resume, and equal worlds."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import shard, shard_settings
from tests.godot.scripts_project import create_scripts_project, errors_in, run_lines
from tickwire.client import connect
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
