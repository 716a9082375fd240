"""The smallest room, in which each player moves a square, and a client that plays in it.

Start the server with `tickwire dev --rooms tickwire.examples.minimal`, and the client in another terminal with
`python -m tickwire.examples.minimal`.
"""

from __future__ import annotations

import asyncio

from tickwire import Input, Player, Room, Table, real
from tickwire.client import connect


class Squares(Table):
    x = real(-100, 100, step=0.1)


class SquareInput(Input):
    dx = real(-1, 1, step=0.01)


class SquareField(Room):
    room_type = "field"
    input_type = SquareInput
    squares: Squares

    def on_join(self, player: Player, options: object) -> None:
        player.entity = self.squares.spawn(x=0.0)

    def on_input(self, player: Player, input: SquareInput) -> None:
        player.entity.x += input.dx

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()


ROOMS = {"field": SquareField}


async def main() -> None:
    async with connect("ws://127.0.0.1:8080") as client:
        me = (await client.join("field")).entity
        for _ in range(20):
            # An input in flight is lost if the room moves to another shard at this moment.
            await client.send_input({"dx": 1.0})
            tick = client.world.tick
            await client.wait_for(lambda tick=tick: client.world.tick > tick)  # type: ignore[misc]
            print(client.world.table("squares").entity(me))


if __name__ == "__main__":
    asyncio.run(main())
