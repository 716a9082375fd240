"""The web client on networks that fail without a word, in pages that sleep, and through the moves of its room."""

from __future__ import annotations

import msgspec
import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import errors_of, open_page
from tests.browser.test_demo import evaluate, games, is_playing, page_of
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tests.harness.tcp_proxy import TcpProxy
from tickwire.server.config import Settings
from tickwire.server.edge.settings import SILENT_INTERVALS_MAX, EdgeSettings
from tickwire.server.shard import Shard

__all__ = ["games"]  # a fixture of those tests, used here, too

NOTICED_S_MAX = 40.0
"""A dead path is noticed within three heartbeat intervals of 3 s; the rest is for a loaded machine."""
IDENTITY = "[window.tickwire().core.sessionId, window.tickwire().room.entity]"


def page_through(proxy: TcpProxy, shard: Shard, game: str) -> str:
    """Return the address of a page whose game connects through a proxy."""
    pages = shard.url.replace("ws", "http", 1)
    return f"{pages}/?name=ada&server=ws://127.0.0.1:{proxy.port}/#{game}"


def seats_of(shard: Shard) -> int:
    """Return the number of seats that are taken."""
    return sum(len(simulation.seats) for simulation in shard.parts.host)


async def wait_until_open_again(page: Page) -> None:
    await page.wait_for_function(
        "() => window.tickwire().resumes > 0 && window.tickwire().state === 'connected'", timeout=NOTICED_S_MAX * 1000
    )


async def test_silent_path_loss_is_detected_and_the_session_resumes(games: Settings, browser: Browser) -> None:
    async with running(games) as shard, TcpProxy(shard.parts.edge.port) as proxy:
        page = await open_page(browser, page_through(proxy, shard, "arena"))
        await is_playing(page)
        before = await evaluate(page, IDENTITY)
        proxy.drop_silently()
        await wait_until_open_again(page)
        await page.keyboard.down("ArrowUp")
        await page.wait_for_function("() => window.tickwire().core.acknowledgedSeq > 20")
        assert await evaluate(page, IDENTITY) == before
        assert await evaluate(page, "[window.tickwire().resumes, window.tickwire().sessionsLost]") == [1, 0]
        assert errors_of(page) == []


async def test_page_that_is_online_again_reconnects_before_a_missed_heartbeat(
    games: Settings, browser: Browser
) -> None:
    async with running(games) as shard, TcpProxy(shard.parts.edge.port) as proxy:
        page = await open_page(browser, page_through(proxy, shard, "arena"))
        await is_playing(page)
        await page.evaluate(
            "() => { window.lost = 0; "
            "window.tickwire().on('disconnected', () => { window.lost = performance.now(); }); }"
        )
        proxy.drop_silently()
        hinted = await page.evaluate("() => { window.dispatchEvent(new Event('online')); return performance.now(); }")
        await wait_until_open_again(page)
        noticed_ms = await evaluate(page, "window.lost") - hinted
        assert noticed_ms < 2_000 * shard.settings.edge.heartbeat_interval_s, "one interval, and not three"


async def test_network_stall_of_five_seconds_closes_no_connection(games: Settings, browser: Browser) -> None:
    async with running(games) as shard, TcpProxy(shard.parts.edge.port) as proxy:
        page = await open_page(browser, page_through(proxy, shard, "arena"))
        await is_playing(page)
        await page.keyboard.down("ArrowUp")
        proxy.stall()
        await page.wait_for_timeout(5_000)
        proxy.deliver()
        seq = await evaluate(page, "window.tickwire().core.acknowledgedSeq")
        await page.wait_for_function(f"() => window.tickwire().core.acknowledgedSeq > {seq} + 120")
        counted = await evaluate(page, "[window.tickwire().resumes, window.tickwire().sessionsLost]")
        assert counted == [0, 0]
        assert proxy.connections == 1


@pytest.mark.parametrize("game", ["arena", "cards"])
async def test_a_frozen_tab_stays_connected(games: Settings, browser: Browser, game: str) -> None:
    edge = EdgeSettings(origins=["*"], heartbeat_interval_s=2.0)
    async with running(msgspec.structs.replace(games, edge=edge)) as shard:
        page = await open_page(browser, page_of(shard, game, "ada"))
        await is_playing(page)
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        silent_s = shard.parts.edge.now_s() + 2 * SILENT_INTERVALS_MAX * edge.heartbeat_interval_s
        await eventually(lambda: shard.parts.edge.now_s() > silent_s, 60)
        await devtools.send("Page.setWebLifecycleState", {"state": "active"})
        await page.wait_for_function("() => window.tickwire().rttMs > 0")
        assert await evaluate(page, "[window.tickwire().resumes, window.tickwire().sessionsLost]") == [0, 0]
        assert shard.parts.edge.counters.closed["silent"] == 0


async def test_a_tab_whose_timers_run_once_a_minute_stays_connected(games: Settings, browser: Browser) -> None:
    edge = EdgeSettings(origins=["*"], heartbeat_interval_s=2.0)
    async with running(msgspec.structs.replace(games, edge=edge)) as shard:
        page = await browser.new_page()
        await page.add_init_script(
            "for (const name of ['setTimeout', 'setInterval']) {"
            "  const real = window[name];"
            "  window[name] = (run, ms, ...more) => real(run, Math.max(ms ?? 0, 60000), ...more);"
            "}"
        )
        await page.goto(page_of(shard, "cards", "ada"))
        await page.wait_for_selector(".hand button")
        silent_s = shard.parts.edge.now_s() + 2 * SILENT_INTERVALS_MAX * edge.heartbeat_interval_s
        await eventually(lambda: shard.parts.edge.now_s() > silent_s, 60)
        assert await evaluate(page, "[window.tickwire().state, window.tickwire().resumes]") == ["connected", 0]
        assert shard.parts.edge.counters.closed["silent"] == 0


async def test_reloaded_page_keeps_its_seat_and_close_releases_it_at_once(games: Settings, browser: Browser) -> None:
    async with running(games) as shard:
        left = await open_page(browser, page_of(shard, "arena", "ada"))
        await is_playing(left)
        await left.goto("about:blank")
        await eventually(lambda: shard.parts.edge.registry.disconnected_count == 1)
        assert seats_of(shard) == 1
        page = await open_page(browser, page_of(shard, "arena", "bob"))
        await is_playing(page)
        assert seats_of(shard) == 2
        await page.evaluate("() => window.tickwire().close()")
        await eventually(lambda: seats_of(shard) == 1)


async def test_reloaded_page_continues_with_the_same_entity(games: Settings, browser: Browser) -> None:
    async with running(games) as shard:
        page = await open_page(browser, page_of(shard, "arena", "ada"))
        await is_playing(page)
        await page.evaluate("() => window.tickwire().room.commands.say({ words: 'before' })")
        before = await evaluate(page, IDENTITY)
        room_id = await evaluate(page, "window.tickwire().room.roomId")
        await page.reload()
        await is_playing(page)
        assert await evaluate(page, IDENTITY) == before
        assert await evaluate(page, "window.tickwire().room.roomId") == room_id
        assert await evaluate(page, "[window.tickwire().resumes, window.tickwire().sessionsLost]") == [1, 0]
        assert seats_of(shard) == 1
        await page.keyboard.down("ArrowUp")
        await page.wait_for_function("() => window.tickwire().core.acknowledgedSeq > 20")
        await page.evaluate("() => window.tickwire().room.commands.say({ words: 'after' })")
        await page.evaluate("() => window.tickwire().close()")  # also deletes what the page has stored
        await page.reload()
        await is_playing(page)
        assert await evaluate(page, "[window.tickwire().resumes, window.tickwire().sessionsLost]") == [0, 0]
        assert errors_of(page) == []


async def test_reloaded_page_keeps_the_name_that_was_chosen_for_it(games: Settings, browser: Browser) -> None:
    async with running(games) as shard:
        page = await open_page(browser, page_of(shard, "arena", "").replace("?name=", ""))
        await is_playing(page)
        before = await evaluate(page, "document.getElementById('name').value")
        await page.reload()
        await is_playing(page)
        assert await evaluate(page, "document.getElementById('name').value") == before
