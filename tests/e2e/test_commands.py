"""The commands of the CLI: their output, their exit codes, and one sentence for each obstacle."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import structlog

from tests.harness.dev_process import DevProcess, children_of, is_alive, run_command, two_free_ports
from tests.harness.polling import eventually, eventually_joins
from tests.harness.shard_process import running, settings_of
from tickwire.client.client import connect
from tickwire.server.config import Settings, load
from tickwire.server.dev import local_stores as embedded
from tickwire.server.dev.child_process import EmbeddedError
from tickwire.server.dev.local_stores import free_port
from tickwire.server.edge.auth.authenticator import create_authenticator
from tickwire.server.errors import ConfigError
from tickwire.server.shard import Shard

ROOT = Path(__file__).parent.parent.parent
STARTED = '"message": "shard_started"'


@pytest.fixture
def dev_folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_dev_runs_all_parts_and_restores_the_world(dev_folder: Path) -> None:
    port = free_port()
    scores: dict[str, int] = {}
    for round_number in (1, 2):
        dev = DevProcess(dev_folder, "--bots", "3", port=port, TICKWIRE__OPERATIONS__PORT=str(free_port()))
        try:
            await eventually(lambda dev=dev: "players    3" in dev.text, 90, dev.text)  # type: ignore[misc]
            assert f"ws://127.0.0.1:{port}" in dev.text
            assert "stop with" in dev.text
            assert re.search(
                r"rooms +1 +players +3 +ticks +\d+/s +late +\d+ +[\d.]+ bytes a player and tick", dev.text
            )
            stores = children_of(dev.process.pid)
            assert len(stores) == 2
            async with connect(f"ws://127.0.0.1:{port}") as client:
                joined = await eventually_joins(client, "arena", "lobby")
                await client.wait_for(lambda client=client: len(client.world.table("ships")) == 4)  # type: ignore[misc]
                if round_number == 2:
                    assert joined.tick > 20, "the room continues at the saved tick"
                scores = await client.command("scores")
                await client.wait_for(lambda client=client: client.world.tick > 25)  # type: ignore[misc]
            dev.process.send_signal(signal.SIGINT)
            assert dev.process.wait(60) == 0, dev.text
            assert "Traceback" not in dev.text
            assert not any(map(is_alive, stores))
        finally:
            dev.process.kill()
            dev.process.wait()
    assert isinstance(scores, dict)


async def test_the_stores_end_when_the_server_is_killed(dev_folder: Path) -> None:
    dev = DevProcess(dev_folder, "--bots", "0", TICKWIRE__OPERATIONS__PORT=str(free_port()))
    await eventually(lambda: "players connect to" in dev.text, 90, dev.text)
    stores = children_of(dev.process.pid)
    assert len(stores) == 2
    dev.process.kill()
    dev.process.wait()
    await eventually(lambda: not any(map(is_alive, stores)), 20)


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command("dev", "--port", str(port), "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    sentence = f"tickwire: listen.port: {port} on 127.0.0.1 is in use; set another port, or 0 for a free one\n"
    assert done.stderr == sentence


def test_unwritable_directory_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = run_command("dev", "--data", str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert re.fullmatch(r"tickwire: the folder \S+ cannot be written: .+\n", done.stderr), done.stderr


def test_a_missing_binary_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedError, match="frobd was found neither on PATH nor in the package no-such"):
        embedded.find_binary(("frobd",), "no-such-package", "bin/frobd")


def test_wrong_settings_are_one_sentence_each(tmp_path: Path) -> None:
    config = tmp_path / "tickwire.toml"
    config.write_text('[listen]\nprot = 1\n[edge]\nconnections_max = "many"\n')
    done = run_command("serve", "--config", str(config))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "tickwire: listen.prot: unknown key; did you mean listen.port?",
        "tickwire: edge.connections_max: must be a whole number from 1 to 10000000; got 'many'",
    ]


@pytest.mark.parametrize(
    ("rooms", "sentence"),
    [
        ("no.such.game", "tickwire: rooms: the module 'no' cannot be found"),
        ("client.core", "tickwire: rooms: the module 'client.core' has no ROOMS"),
    ],
)
def test_rooms_that_cannot_be_loaded_are_reported_in_one_sentence(rooms: str, sentence: str) -> None:
    done = run_command("serve", "--rooms", rooms, TICKWIRE__LISTEN__PLAINTEXT="true", TICKWIRE__LISTEN__PORT="0")
    assert (done.returncode, done.stderr.splitlines()) == (2, [sentence])


def test_check_shows_the_settings_without_secrets() -> None:
    done = run_command("check", TICKWIRE__REDIS__URL="redis://u:hunter2@redis/0", TICKWIRE__LISTEN__PLAINTEXT="true")
    assert (done.returncode, done.stderr) == (0, "")
    assert "redis://***@redis/0" in done.stdout
    assert "hunter2" not in done.stdout


async def test_several_shards_share_a_key_so_that_redirects_work(shard_settings: Settings, tmp_path: Path) -> None:
    port = two_free_ports()
    environ = {
        "TICKWIRE__ROOMS": "tests.harness.sample_rooms",
        "TICKWIRE__REDIS__URL": shard_settings.redis.url,
        "TICKWIRE__REDIS__NAMESPACE": shard_settings.redis.namespace,
        "TICKWIRE__MONGO__URL": shard_settings.mongo.url,
        "TICKWIRE__MONGO__DATABASE": shard_settings.mongo.database,
        "TICKWIRE__MONGO__MIGRATE": "true",
        "TICKWIRE__LISTEN__PORT": str(port),
        "TICKWIRE__LISTEN__PLAINTEXT": "true",
        "TICKWIRE__OPERATIONS__PORT": str(two_free_ports()),
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        fleet = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "tickwire", "serve", "--shards", "2"],
            env={**os.environ, **environ},
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        await eventually(lambda: log.read_text().count(STARTED) == 2, 60, log.read_text())
        async with connect(f"ws://127.0.0.1:{port}") as one, connect(f"ws://127.0.0.1:{port + 1}") as two:
            there = await eventually_joins(one, "garden", "home")
            assert (await eventually_joins(two, "garden", "home")).room_id == there.room_id
            assert two.url == one.url
    finally:
        shards = children_of(fleet.pid)
        fleet.terminate()
        assert await asyncio.to_thread(fleet.wait, 60) == 0, log.read_text()
    assert not any(map(is_alive, shards))


async def test_a_shard_that_cannot_have_its_operations_port_closes_the_other(shard: Shard) -> None:
    settings = settings_of(shard.settings.redis.url, "x", shard.settings.mongo.url, "x")
    taken = msgspec.structs.replace(settings.operations, port=shard.parts.operations.port)
    second = Shard(msgspec.structs.replace(settings, operations=taken))
    with pytest.raises(ConfigError, match="operations"):
        await second.start()
    assert second.parts.edge.connection_count == 0


@pytest.mark.parametrize(
    ("host", "url", "count"), [("0.0.0.0", "", 1), ("0.0.0.0", "ws://127.0.0.1:1", 0), ("127.0.0.1", "", 0)]
)
async def test_an_address_that_leads_players_nowhere_is_warned_of(
    shard_settings: Settings, host: str, url: str, count: int
) -> None:
    listen = msgspec.structs.replace(shard_settings.listen, host=host, url=url)
    with structlog.testing.capture_logs() as lines:
        async with running(msgspec.structs.replace(shard_settings, listen=listen)):
            pass
    assert len([line for line in lines if line["event"] == "player_url_not_reachable"]) == count


@pytest.mark.parametrize("section", ["listen", "operations"])
@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "::2"])
async def test_an_address_that_this_machine_does_not_have_is_one_sentence(
    shard_settings: Settings, section: str, host: str
) -> None:
    changed = msgspec.structs.replace(getattr(shard_settings, section), host=host)
    shard = Shard(msgspec.structs.replace(shard_settings, **{section: changed}))
    with pytest.raises(ConfigError) as raised:
        await shard.start()
    assert str(raised.value).startswith(f"{section}.host: cannot listen on {host}: ")
    assert "\n" not in str(raised.value)


def test_a_token_for_development_is_printed_and_good(tmp_path: Path) -> None:
    config = tmp_path / "tickwire.toml"
    config.write_text('[auth]\nsecret = "a secret of at least thirty-two characters"\n')
    done = run_command("token", "alice", "--config", str(config), "--ttl-s", "60")
    assert done.returncode == 0
    authenticate = create_authenticator(load(config, {}).auth, time.time).authenticate
    assert asyncio.run(authenticate(done.stdout.strip())).player_id == "alice"
    done = run_command("token", "alice")
    assert (done.returncode, done.stderr) == (2, "tickwire: auth.secret: must be set, because it signs the token\n")


def test_plain_ws_must_be_asked_for() -> None:
    done = run_command("serve", TICKWIRE__LISTEN__PORT="0", TICKWIRE__OPERATIONS__PORT="0")
    assert done.returncode == 2
    assert re.match(r"tickwire: listen\.certificate: is not set; .*listen\.plaintext", done.stderr), done.stderr
