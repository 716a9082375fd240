"""Clients of all languages play in one room, through two cuts and a drain, and agree on every checksum."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from playwright.async_api import Browser

from tests.browser.conftest import open_page, require
from tests.browser.player_programs import PROGRAMS, bundle, commands
from tests.harness.players import ClientUnavailable, Done, PlayerLog, PlayerProcess
from tests.harness.playground_rooms import Playground
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tcp_proxy import TcpProxy
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard

STATES = 20
"""The states that all clients must have in common before the cuts, after each of them, and after the drain."""
STEP_S_MAX = 60.0
HEARTBEAT_S = 1.0
ROOM = "all-clients"
OPTIONAL = ("godot",)
"""Clients that cannot be had on every machine of CI."""


class RunningPlayer(Protocol):
    """A player that runs."""

    log: PlayerLog

    def check(self) -> None: ...


class PagePlayer:
    """The player in a browser."""

    def __init__(self, log: PlayerLog) -> None:
        self.log = log

    def check(self) -> None:
        assert not self.log.error, f"{self.log.name}: {self.log.error}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_client_of_each_language_can_play(name: str, built: Path, tmp_path: Path) -> None:
    """Skips the clients that the other test leaves out, with the reason for each; in CI only those of OPTIONAL."""
    try:
        assert PROGRAMS[name](tmp_path)
    except ClientUnavailable as reason:
        if name in OPTIONAL:
            pytest.skip(str(reason))
        require(None, str(reason))


@pytest.fixture
def playground(shard_settings: Settings, built: Path, tmp_path: Path) -> Settings:
    """Settings of shards with the room, and the page of the player in a browser."""
    pages = tmp_path / "pages"
    pages.mkdir()
    bundle("page.ts", pages)
    (pages / "index.html").write_text('<!doctype html>\n<script type="module" src="./page.js"></script>\n')
    return msgspec.structs.replace(
        shard_settings,
        rooms=["tests.harness.playground_rooms"],
        edge=EdgeSettings(origins=["*"], heartbeat_interval_s=HEARTBEAT_S),
        listen=msgspec.structs.replace(shard_settings.listen, pages=str(pages)),
        drain_timeout_s=30.0,
    )


@asynccontextmanager
async def page_player(browser: Browser, shard: Shard, proxy: TcpProxy) -> AsyncIterator[PagePlayer]:
    player = PagePlayer(PlayerLog("browser"))
    page = await open_page(browser, f"{shard.url.replace('ws', 'http', 1)}/robots.txt")
    page.on("console", lambda message: player.log.add(message.text))
    page.on("pageerror", lambda error: setattr(player.log, "error", str(error)))
    server = f"ws://127.0.0.1:{proxy.port}/"
    await page.goto(f"{shard.url.replace('ws', 'http', 1)}/?server={server}&room={ROOM}&name=browser")
    yield player
    await page.close()


async def until(players: Sequence[RunningPlayer], condition: Callable[[PlayerLog], bool], what: str) -> None:
    """Return once a condition is true for all players; fail if one of them has failed."""

    def holds() -> bool:
        for player in players:
            player.check()
        return all(condition(player.log) for player in players)

    try:
        await eventually(holds, STEP_S_MAX)
    except AssertionError as error:
        missing = [player.log.name for player in players if not condition(player.log)]
        raise AssertionError(f"{what}: not {missing}: {error}") from error


def common_ticks(players: Sequence[RunningPlayer]) -> set[int]:
    """Return the ticks of which all players have reported a checksum."""
    return set.intersection(*(set(player.log.checksums) for player in players))


async def until_common(players: Sequence[RunningPlayer], count: int) -> None:
    """Return once the players have `count` more ticks in common."""
    before = len(common_ticks(players))
    await until(players, lambda _: len(common_ticks(players)) >= before + count, "states in common")


async def cut(proxies: Sequence[TcpProxy], *, first_silent: int = 1) -> None:
    """Cut the connections: every second one, from this index on, dies without a close; the others end."""
    silent = proxies[first_silent::2]
    ended = [proxy for proxy in proxies if proxy not in silent]
    for proxy in ended:
        proxy.stall()
    for proxy in silent:
        proxy.drop_silently()
    await asyncio.sleep(2 / 20)  # data of both sides arrives, and is held back
    for proxy in ended:
        proxy.reconnect()


def room_of(shard: Shard) -> Playground:
    (simulation,) = shard.parts.host
    assert isinstance(simulation.room, Playground)
    return simulation.room


async def test_all_clients_agree_on_every_checksum_through_cuts_and_a_drain(
    playground: Settings, browser: Browser, tmp_path: Path
) -> None:
    programs = await asyncio.to_thread(commands, tmp_path)
    async with running(playground) as one, running(playground) as other, AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(TcpProxy(one.parts.edge.port)) for _ in range(len(programs) + 1)]
        started = [
            PlayerProcess(PlayerLog(name), command, f"ws://127.0.0.1:{proxy.port}/", ROOM)
            for (name, command), proxy in zip(programs.items(), proxies, strict=False)
        ]
        players: list[RunningPlayer] = []
        # One after another: a start takes seconds of a processor, and an attempt has a time limit.
        for program in started:
            players.append(await stack.enter_async_context(program))
            await until(players, lambda log: log.count("joined") == 1, "joined")
        players.append(await stack.enter_async_context(page_player(browser, one, proxies[-1])))
        await until(players, lambda log: log.count("joined") == 1, "joined")
        await until_common(players, STATES)
        for cuts, first_silent in enumerate((0, 1), 1):
            await cut(proxies, first_silent=first_silent)
            await until(players, lambda log: log.count("reconnected") >= cuts, "reconnected after a cut")  # noqa: B023
            await until_common(players, STATES)
        await one.drain()
        assert len(one.parts.host) == 0
        await until(players, lambda log: log.count("reconnected") >= 3, "reconnected after the drain")
        await until_common(players, STATES)
        room_of(other).is_ending = True
        await until(players, lambda log: log.done is not None, "done")
        for program in started:
            await program.wait_until_ended()
    check_agreement(players)


def check_agreement(players: Sequence[RunningPlayer]) -> None:
    """Check what the players have reported."""
    checksums: dict[int, dict[int, list[str]]] = {}
    for player in players:
        for tick, crc in player.log.checksums.items():
            checksums.setdefault(tick, {}).setdefault(crc, []).append(player.log.name)
    assert {tick: found for tick, found in checksums.items() if len(found) > 1} == {}
    summaries = {player.log.name: player.log.done for player in players}
    assert len({done.crc for done in summaries.values() if done is not None}) == 1, summaries
    for name, done in summaries.items():
        assert done is not None
        check_summary(name, done, sorted(summaries))


def check_summary(name: str, done: Done, names: Sequence[str]) -> None:
    """Check the summary of one player: nothing was lost or came twice, through three changes of the connection."""
    assert done.names == names, name
    assert (done.sessions_lost, done.mismatches) == (0, 0), name
    assert done.resumes >= 3, name
    assert done.sent > STATES, name
    assert done.acknowledged > STATES, name
    assert done.counts == list(range(1, len(done.counts) + 1)), name
    assert len(done.counts) > 3, name
    first = done.beats[0]
    assert done.beats == list(range(first, first + len(done.beats))), name
