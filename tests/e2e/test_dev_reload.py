"""`tickwire dev --reload`: sessions and worlds stay, the behaviour changes, and invalid code changes nothing."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.harness.counting_game import counting_game, x_of
from tests.harness.dev_process import DevProcess, dev
from tests.harness.polling import eventually
from tickwire.client.client import connect

RULES = "STEP = 1\n"


def sessions_of(running: DevProcess) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {running.access.token}"}
    request = urllib.request.Request(f"{running.access.url}/v1/sessions", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


@pytest.mark.timeout(400)
async def test_reload_keeps_the_session_and_the_world_and_brings_the_new_code(tmp_path: Path) -> None:
    game = tmp_path / "game"
    game.mkdir()
    (game / "rules.py").write_text(RULES)
    (game / "tally.py").write_text(counting_game("import rules\nfrom rules import STEP"))
    with dev(tmp_path / "data", "0", "--rooms", "tally", "--reload", cwd=game, PYTHONPATH=str(Path.cwd())) as running:
        await running.says("reloading on changes of Python files")
        await running.says("players connect to")
        async with connect(f"ws://127.0.0.1:{running.port}") as client:
            room = await client.join("tally")
            me, (session,) = room.entity, sessions_of(running)
            await client.send_input({"sign": 1.0})
            await client.wait_for(lambda: x_of(client, me) == 1001, timeout_s=60)

            (game / "rules.py").write_text("STEP = 5\n")  # another module, of the same size
            await running.says("rooms restarted: 1, rooms closed: 0")
            assert await client.command("count") == {"step": 5, "joins": 1}
            await client.send_input({"sign": 1.0})
            await client.wait_for(lambda: x_of(client, me) == 1006, timeout_s=60)

            (game / "rules.py").write_text("STEP = = 7\n")
            await running.says("the old code continues: rooms: the module 'tally' cannot be loaded: SyntaxError")
            assert await client.command("count") == {"step": 5, "joins": 1}

            (game / "rules.py").write_text("STEP = 7\n")
            await eventually(lambda: running.text.count("rooms restarted: 1, rooms closed: 0") == 2, 60)
            await client.send_input({"sign": -1.0})
            await client.wait_for(lambda: x_of(client, me) == 999, timeout_s=60)
            (now,) = sessions_of(running)
            assert (now["session_id"], now["room_id"]) == (session["session_id"], room.room_id)
            assert now["connections"] == 1
            assert client.core.mismatches == 0
            assert running.process.poll() is None
