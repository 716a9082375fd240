"""The player that uses the Python client. See tests/harness/players.py for its arguments and lines."""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
from typing import Any

import msgspec

from tests.harness.players import Done
from tickwire.client import Client, connect
from tickwire.client.errors import ClientError

INPUT_S = 0.05
COUNT_S = 0.4


def report(**line: Any) -> None:
    print(msgspec.json.encode(line).decode(), flush=True)


class PythonPlayer:
    """Plays until the round is over."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sent = 0
        self.counts: list[int] = []
        self.beats: list[int] = []
        self.is_over = asyncio.Event()

    async def play(self, room: str, name: str) -> Done:
        client = self.client
        client.on("state", lambda _: self._state_applied())
        client.on("event", lambda event: self.beats.append(event.payload["number"]))
        client.on("disconnected", lambda _: report(event="disconnected"))
        client.on("reconnected", lambda _: report(event="reconnected"))
        joined = await client.join("playground", name=room, options={"name": name})
        report(event="joined", entity=joined.entity)
        await asyncio.gather(self._send_inputs(), self._count())
        table = client.world.table("squares")
        return Done(
            client.resumes, client.sessions_lost, client.core.mismatches, client.core.resyncs, self.sent,
            client.acknowledged_seq, self.counts, self.beats, self._checksum(), client.world.tick,
            sorted(table.entity(int(id))["name"] for id in table.ids),
        )  # fmt: skip

    def _checksum(self) -> int:
        return int.from_bytes(self.client.world.checksum(), "little")

    def _state_applied(self) -> None:
        world = self.client.world
        report(tick=world.tick, crc=self._checksum())
        if world.table("rounds").column("is_over").any():
            self.is_over.set()

    async def _send_inputs(self) -> None:
        for number in itertools.count():
            if await self._is_over_after(INPUT_S):
                return
            values = {"dx": math.cos(number / 10), "dy": math.sin(number / 10)}
            self.sent += await self.client.send_input(values) > 0

    async def _count(self) -> None:
        while not await self._is_over_after(COUNT_S):
            self.counts.append(await self.client.command("count", timeout_s=60))

    async def _is_over_after(self, time_s: float) -> bool:
        try:
            await asyncio.wait_for(self.is_over.wait(), time_s)
        except TimeoutError:
            return False
        return True


async def main(url: str, room: str, seconds: str, name: str) -> int:
    try:
        async with asyncio.timeout(int(seconds)), connect(url) as client:
            report(done=await PythonPlayer(client).play(room, name))
    except (ClientError, TimeoutError) as error:
        report(error=repr(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
