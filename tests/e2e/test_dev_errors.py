"""An exception of the game's code in `tickwire dev`: in the terminal, and in the admin API; and the room restarts."""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.harness.dev_process import DevProcess, dev
from tests.harness.polling import eventually
from tickwire.client.client import Client, connect

GAME = """
from tickwire import Input, Room, Table, real


class Marks(Table):
    x = real(0, 100, step=1)


class Division(Input):
    divisor = real(-1, 1, step=1)


class Board(Room):
    room_type = "board"
    error_policy = "restore"
    input_type = Division
    marks: Marks

    def on_join(self, player, options):
        player.entity = self.marks.spawn(x=1.0)

    def on_input(self, player, input):
        player.entity.x = 10 / input.divisor

    def on_command(self, player, name, payload):
        return {"length": len(payload["text"])}


ROOMS = [Board]
"""


def room_errors(running: DevProcess) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{running.access.url}/v1/room-errors", headers={"Authorization": f"Bearer {running.access.token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def x_of(client: Client, entity: int) -> float | None:
    with suppress(KeyError):  # before the first state
        return float(client.world.table("marks").entity(entity)["x"])
    return None


async def test_exception_is_shown_with_the_games_line_and_the_room_restarts_with_its_player(tmp_path: Path) -> None:
    (tmp_path / "board_game.py").write_text(GAME)
    with dev(tmp_path / "data", "0", "--rooms", "board_game", PYTHONPATH=str(tmp_path)) as running:
        await running.says("players connect to")
        async with connect(f"ws://127.0.0.1:{running.port}") as client:
            me = (await client.join("board")).entity
            await client.send_input({"divisor": 1.0})
            await client.wait_for(lambda: x_of(client, me) == 10, timeout_s=60)
            await eventually(lambda: client.world.tick > 45, 60, "a checkpoint of the room")
            await client.send_input({"divisor": 0.0})
            await running.says("board_game.py:23 in on_input: player.entity.x = 10 / input.divisor")
            await running.says("ZeroDivisionError")
            await running.says("the room restarts from its last checkpoint")
            assert "<Player '" in running.text
            assert "input_delivery.py" not in running.text.split("room_code_raised")[0]
            await client.send_input({"divisor": -1.0})
            await client.wait_for(lambda: x_of(client, me) == 0, timeout_s=60)
            assert client.core.mismatches == 0
            (error,) = room_errors(running)
            assert error["hook"] == "on_input"
            assert error["consequence"] == "the room restarts from its last checkpoint"
            assert error["arguments"][1].startswith("Division(divisor=0")
