"""`tickwire dev --shards 2`: players are redirected, and a change of the code is a deploy from shard to shard."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import socket
from pathlib import Path

import pytest

from tests.harness.counting_game import counting_game, x_of
from tests.harness.dev_process import children_of, dev, is_alive, two_free_ports
from tests.harness.polling import eventually
from tickwire.client.client import connect
from tickwire.server.cli.dev_shards import check_code, choose_ports, find_free_ports, stop_after_error, to_environment
from tickwire.server.config import Settings, load
from tickwire.server.errors import ConfigError


@pytest.mark.timeout(600)
async def test_players_meet_across_shards_and_keep_room_and_world_through_a_deploy(tmp_path: Path) -> None:
    game = tmp_path / "game"
    game.mkdir()
    (game / "tally.py").write_text(counting_game("STEP = 1"))
    port = two_free_ports()
    arguments = ("0", "--rooms", "tally", "--reload", "--shards", "2")
    root = str(Path(__file__).parents[2])
    with dev(tmp_path / "data", *arguments, port=port, cwd=game, PYTHONPATH=root) as running:
        await running.says("deploying on changes of Python files", 180)
        assert "player API at" in running.text
        url = f"ws://127.0.0.1:{port}"
        async with connect(url) as ann, connect(f"ws://127.0.0.1:{port + 1}") as bob:
            room = await ann.join("tally", name="north")
            assert (await bob.join("tally", name="north")).room_id == room.room_id
            await ann.send_input({"sign": 1.0})
            for client in (ann, bob):
                await client.wait_for(lambda client=client: x_of(client, room.entity) == 1001, timeout_s=60)

            (game / "tally.py").write_text(counting_game("STEP = = 1"))
            await running.says("the old code continues", 120)
            assert await ann.command("count") == {"step": 1, "joins": 1}

            (game / "tally.py").write_text(counting_game("STEP = 5"))
            await running.says("deployed to 2 shards", 300)
            for client in (ann, bob):
                assert await client.command("count") == {"step": 5, "joins": 1}
                await client.wait_for(lambda client=client: x_of(client, room.entity) == 1001, timeout_s=60)
                assert client.core.mismatches == 0
        shards = children_of(running.process.pid)
        running.process.send_signal(signal.SIGTERM)
        assert await running.exit_code() == 0, running.text
        await eventually(lambda: not any(map(is_alive, shards)), 60)


def test_settings_for_local_use_reach_the_processes_of_the_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TICKWIRE__")]:
        monkeypatch.delenv(name)
    values = {
        "redis.url": "redis://127.0.0.1:7000/0",
        "mongo.url": "mongodb://127.0.0.1:7001/?replicaSet=rs0",
        "operations.token": "t" * 40,
        "accounts.secret": "s" * 40,
        "auth.accounts": True,
        "listen.plaintext": True,
        "edge.origins": ["https://game.example", "loopback"],
        "mongo.migrate": True,
        "capacity.load_max": 100.0,
        "redis.lease_s": 3.0,
        "logging.level": "warning",
    }
    settings = load(None, {}, values)
    assert load(None, to_environment(settings), {}) == settings
    assert to_environment(Settings())["TICKWIRE__LOGGING__LEVEL"] == "warning"


def test_a_port_in_use_is_an_error_before_the_shards_start_and_a_default_one_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = two_free_ports()
    with socket.create_server(("127.0.0.1", port + 1)):
        settings = load(None, {}, {"listen.port": port})
        with pytest.raises(ConfigError, match=rf"listen.port: port {port + 1} is in use .*; 2 shards need {port} to"):
            choose_ports(settings, 2)
        settings = load(None, {}, {"listen.port": 0, "operations.port": port})
        with pytest.raises(ConfigError, match=rf"operations.port: port {port + 1} is in use"):
            choose_ports(settings, 2)
        monkeypatch.setattr("tickwire.server.cli.dev_shards.Operations", lambda: settings.operations)
        chosen = choose_ports(settings, 2)
    assert chosen.listen.port > 0
    assert chosen.operations.port not in (0, port)


async def test_a_check_of_the_code_ends_with_the_process_that_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_game.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = set(children_of(os.getpid()))
    checking = asyncio.create_task(check_code(["--rooms", "slow_game"]))
    await eventually(lambda: bool(set(children_of(os.getpid())) - before), 60)
    (child,) = set(children_of(os.getpid())) - before
    checking.cancel()
    await asyncio.wait((checking,))
    assert not is_alive(child)


async def test_the_process_stops_if_its_helper_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: stopped.append((pid, number)))

    async def fail() -> None:
        raise LookupError("planned failure")

    helper = asyncio.create_task(fail())
    helper.add_done_callback(stop_after_error)
    await eventually(lambda: bool(stopped))
    assert stopped == [(os.getpid(), signal.SIGTERM)]


def test_successive_ports_of_which_one_is_in_use_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    port = two_free_ports()
    numbers = iter([port - 10_000, *(random.randrange(10_000) for _ in range(1000))])
    monkeypatch.setattr(secrets, "randbelow", lambda below: next(numbers))
    with socket.create_server(("127.0.0.1", port + 1)):
        assert find_free_ports("127.0.0.1", 2) != port
