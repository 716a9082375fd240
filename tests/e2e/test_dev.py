"""`tickwire dev` next to another instance, and after one of its processes has ended."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import msgspec
import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.harness.dev_process import children_of, dev, is_alive, run_command
from tests.harness.polling import eventually
from tickwire.schemas import SUBPROTOCOL
from tickwire.server.config import Operations
from tickwire.server.dev.local_stores import free_port
from tickwire.server.dev.player_api import SECRET_FILE, read_account_secret
from tickwire.server.dev.runner import ACCESS_FILE, BOTS_LOOKS_MAX, _BotReport, count_bots, read_access
from tickwire.server.errors import ConfigError

ROOT = Path(__file__).parents[2]
RUNS = "players connect to"


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


async def test_two_instances_run_at_the_same_time_with_their_own_tokens(tmp_path: Path) -> None:
    default = {"TICKWIRE__OPERATIONS__PORT": str(Operations().port)}
    with dev(tmp_path / "one", **default) as one, ExitStack() as stack:
        await one.says(RUNS)  # it listens on the default port now, unless another process does
        other = stack.enter_context(dev(tmp_path / "other", **default))
        await other.says(RUNS)
        assert "is in use; choosing a free port" in other.text
        assert one.access.token != other.access.token
        assert one.access.url != other.access.url
        for running in (one, other):
            path = running.data / ACCESS_FILE
            assert path.stat().st_mode & 0o077 == 0
            done = await asyncio.to_thread(run_command, "bandwidth", "--data", str(running.data))
            assert done.stderr == f"tickwire: no room is running on {running.access.url}\n"
        before = one.access
        other.process.send_signal(signal.SIGTERM)
        assert await other.exit_code() == 0, other.text
        assert read_access(other.data) is None
        assert one.access == before


async def test_player_api_runs_and_names_the_shard(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as running:
        await running.says(RUNS)
        (url,) = re.findall(r"player API at +(http://[^/]+)/", running.text)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.get(f"{url}/v1/server", headers={"Origin": "http://localhost:5173"}) as response,
        ):
            assert (await response.json())["player_url"] == f"ws://127.0.0.1:{running.port}"
            assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
        secret = tmp_path / "data" / SECRET_FILE
        assert secret.stat().st_mode & 0o077 == 0
        assert read_account_secret(tmp_path / "data") == secret.read_text(), "logins outlast a restart"
        running.process.send_signal(signal.SIGTERM)
        assert await running.exit_code() == 0, running.text


async def test_local_pages_connect_and_refused_pages_are_logged_with_the_setting(tmp_path: Path) -> None:
    protocols = [Subprotocol(SUBPROTOCOL)]
    with dev(tmp_path / "data") as running:
        await running.says(RUNS)
        url = f"ws://127.0.0.1:{running.port}"
        for origin in ("http://localhost:5173", "http://127.0.0.1:3000"):
            async with open_websocket(url, subprotocols=protocols, origin=Origin(origin)):
                pass
        for _ in range(3):
            with pytest.raises(InvalidStatus):
                async with open_websocket(url, subprotocols=protocols, origin=Origin("http://192.0.2.7:5173")):
                    pass
        await running.says("origin_refused")
        (line,) = [line for line in running.text.splitlines() if "origin_refused" in line]
        assert "edge.origins" in line
        assert "http://192.0.2.7:5173" in line


async def test_second_instance_with_the_same_data_is_refused_and_the_first_keeps_running(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as first:
        await first.says(RUNS)
        before = first.access
        with dev(tmp_path / "data") as second:
            assert await second.exit_code() == 1
            last = second.text.splitlines()[-1]
            folder = tmp_path / "data" / "redis"
            words = f"the folder {folder} is in use by process {first.process.pid}: stop it, or use another"
            assert last == f"tickwire: {words}"
        assert first.access == before
        assert first.process.poll() is None


async def test_second_instance_with_the_same_port_leaves_the_token_of_the_first(tmp_path: Path) -> None:
    with dev(tmp_path / "one") as first:
        await first.says(RUNS)
        done = await asyncio.to_thread(
            run_command, "dev", "--port", str(first.port), "--data", str(tmp_path / "two"), "--bots", "0"
        )
        assert done.returncode == 2
        assert f"tickwire: listen.port: {first.port} on 127.0.0.1 is in use" in done.stderr
        assert first.access.token
        assert read_access(tmp_path / "two") is None


@pytest.mark.parametrize("store", ["redis-server", "mongod"])
async def test_instance_stops_and_names_the_store_that_has_ended(store: str, tmp_path: Path) -> None:
    with dev(tmp_path / "data", TICKWIRE__SHUTDOWN_TIMEOUT_S="3") as running:
        await running.says(RUNS)
        names = {name_of(pid): pid for pid in children_of(running.process.pid)}
        os.kill(names[store], signal.SIGKILL)
        assert await running.exit_code() == 1
        assert f"tickwire: {store} has ended with exit code -9; see " in running.text
        assert not any(map(is_alive, names.values()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_signal_while_the_stores_start_leaves_no_store_behind(number: int, tmp_path: Path) -> None:
    with dev(tmp_path / "data") as running:
        await eventually(lambda: len(children_of(running.process.pid)) > 0, 30)
        stores = children_of(running.process.pid)
        running.process.send_signal(number)
        assert await running.exit_code() != 0
        await eventually(lambda: not any(map(is_alive, stores)), 20)
        assert "Traceback" not in running.text


async def test_second_signal_ends_the_instance_and_its_stores_at_once(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as running:
        await running.says(RUNS)
        stores = children_of(running.process.pid)
        os.kill(stores[-1], signal.SIGSTOP)  # so that an orderly stop would wait for it
        running.process.send_signal(signal.SIGTERM)
        await running.says("stopping")  # two signals in one turn of the loop are one
        running.process.send_signal(signal.SIGTERM)
        assert await running.exit_code() != 0
        os.kill(stores[-1], signal.SIGCONT)
        await eventually(lambda: not any(map(is_alive, stores)), 20)


async def test_bots_that_cannot_connect_are_reported_with_the_reason(tmp_path: Path) -> None:
    with dev(tmp_path / "data", "3", TICKWIRE__EDGE__CONNECTIONS_MAX="1") as running:
        await running.says(" of 3 bots cannot connect to ws://127.0.0.1:")  # two, or at first all three
        await running.says("503")


async def test_bots_play_although_a_proxy_is_set(tmp_path: Path) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    environ = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
    with dev(tmp_path / "data", "3", **environ) as running:
        await running.says("players    3")
        assert "cannot connect" not in running.text


def test_each_error_of_bots_is_reported_once() -> None:
    report = _BotReport(2, "ws://here")
    assert report.news() == ""
    report.observe("bot 0", "refused")
    report.observe("bot 1", "refused")
    assert report.news() == "2 of 2 bots cannot connect to ws://here: refused"
    assert report.news() == ""
    report.observe("bot 0", "")
    report.observe("bot 1", "a proxy is in the way")
    assert report.news() == "1 of 2 bots cannot connect to ws://here: a proxy is in the way"
    report.observe("bot 1", "")
    report.observe("bot 1", "the connection was lost")  # the bot reconnects by itself
    assert report.news() == ""


def test_bots_that_neither_join_nor_fail_are_reported() -> None:
    report = _BotReport(2, "ws://here")
    news = [report.news() for _ in range(BOTS_LOOKS_MAX * 2)]
    assert [line for line in news if line] == [
        f"2 of 2 bots cannot connect to ws://here: no answer within {BOTS_LOOKS_MAX} s"
    ]


def test_absence_of_bots_is_not_reported() -> None:
    report = _BotReport(0, "ws://here")
    assert not any(report.news() for _ in range(BOTS_LOOKS_MAX * 2))


def test_bots_are_not_expected_in_a_game_without_the_arena() -> None:
    assert (count_bots(20, {"arena", "plaza"}), count_bots(20, {"bolt"})) == (20, 0)
    report = _BotReport(count_bots(20, {"bolt"}), "ws://here")
    assert not any(report.news() for _ in range(BOTS_LOOKS_MAX * 2))


def test_unreadable_access_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    assert read_access(tmp_path) is None
    (tmp_path / ACCESS_FILE).write_bytes(msgspec.json.encode({"url": 3}))
    with pytest.raises(ConfigError, match=rf"{ACCESS_FILE}: cannot be read"):
        read_access(tmp_path)
    done = run_command("bandwidth", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"tickwire: {tmp_path / ACCESS_FILE}: cannot be read")
