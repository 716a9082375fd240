"""The C# client plays on a real server: through a lost connection and a drain, and agrees with the server's world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.browser.test_all_clients import cut, room_of
from tests.csharp.conftest import ROOT, RUNTIME
from tests.harness.players import PlayerLog, PlayerProcess
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tcp_proxy import TcpProxy
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings


async def until(player: PlayerProcess, condition: Callable[[PlayerLog], bool]) -> None:
    """Return once a condition is true; fail if the player has failed."""

    def holds() -> bool:
        player.check()
        return condition(player.log)

    await eventually(holds, 30.0)


async def test_a_player_keeps_its_seat_through_a_cut_and_a_drain(program: Path, shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(
        shard_settings,
        rooms=["tests.harness.playground_rooms"],
        edge=EdgeSettings(heartbeat_interval_s=1.0),
        drain_timeout_s=30.0,
    )
    command = [str(RUNTIME), str(program), str(ROOT), "play"]
    async with running(settings) as one, running(settings) as other, TcpProxy(one.parts.edge.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/"
        async with PlayerProcess(PlayerLog("csharp"), command, url, "field") as player:
            await until(player, lambda log: len(log.checksums) >= 20)
            await cut([proxy])
            await until(player, lambda log: log.count("reconnected") >= 1)
            before = len(player.log.checksums)
            await until(player, lambda log: len(log.checksums) >= before + 20)
            await asyncio.gather(one.drain(), until(player, lambda log: log.count("reconnected") >= 2))
            room_of(other).is_ending = True
            await until(player, lambda log: log.done is not None)
            await player.wait_until_ended()
    done = player.log.done
    assert done is not None
    assert (done.resumes, done.sessions_lost, done.mismatches) == (2, 0, 0)
    assert done.counts == list(range(1, len(done.counts) + 1))
    assert done.beats == list(range(done.beats[0], done.beats[-1] + 1))
    assert 0 < done.acknowledged <= done.sent
    assert done.names == ["csharp"]
