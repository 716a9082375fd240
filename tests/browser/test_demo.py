"""The demo in real browsers, together with a Python client: their worlds agree, also on bad networks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import PHONE, errors_of, keep_picture, open_page
from tests.harness.polling import eventually
from tests.harness.shard_process import admin, running
from tickwire.client.client import Client, connect
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard

RECORD = """() => {
  const client = window.tickwire();
  window.sums = {};
  client.on("state", ({ tick }) => { window.sums[tick] = client.world.checksum(); });
}"""
EVENTS = """() => {
  window.events = [];
  window.tickwire().on("event", ({ name, payload }) => window.events.push([name, payload]));
}"""


@pytest.fixture
def games(shard_settings: Settings, built: Path) -> Settings:
    """Settings of shards with the examples, and the demo at their address."""
    listen = msgspec.structs.replace(shard_settings.listen, pages=str(built / "demo"))
    operations = msgspec.structs.replace(shard_settings.operations, console=str(built / "console"))
    return msgspec.structs.replace(
        shard_settings,
        rooms=["tickwire.examples.arena", "tickwire.examples.plaza", "tickwire.examples.cards"],
        listen=listen,
        operations=operations,
        # Behind a gateway all shards have one origin; here each has a port of its own.
        edge=EdgeSettings(origins=["*"]),
        drain_timeout_s=30.0,
    )


def page_of(shard: Shard, game: str, name: str) -> str:
    return f"{shard.url.replace('ws', 'http', 1)}/?name={name}#{game}"


async def is_playing(page: Page) -> None:
    await page.wait_for_function("() => window.tickwire?.()?.core.world?.tick > 0", timeout=60_000)


async def evaluate(page: Page, expression: str) -> Any:
    return await page.evaluate(f"() => {expression}")


def remember(client: Client) -> dict[int, int]:
    """The checksum of a Python client's world at each tick, from now on."""
    sums: dict[int, int] = {}
    apply = client.core.receive

    def receive(data: bytes, *, now_us: int) -> Any:
        update = apply(data, now_us=now_us)
        world = client.core.world
        if world is not None and world.tick:
            sums[world.tick] = int.from_bytes(world.checksum(), "little")
        return update

    client.core.receive = receive  # type: ignore[method-assign]
    return sums


async def test_two_browsers_and_a_python_client_see_each_other_and_agree(games: Settings, browser: Browser) -> None:
    async with running(games) as shard, connect(shard.url) as bot:
        joined = await bot.join("arena", name="lobby", options={"name": "bot"})
        sums = remember(bot)
        one = await open_page(browser, page_of(shard, "arena", "ada"))
        two = await open_page(browser, page_of(shard, "arena", "bob"), size=PHONE, is_dark=True)
        for page in (one, two):
            await is_playing(page)
            await page.evaluate(RECORD)
        await one.keyboard.down("ArrowUp")
        await one.keyboard.down("Space")
        me = await evaluate(one, "window.tickwire().room.entity")
        start = await evaluate(two, f"window.tickwire().world.table('ships').get({me})")
        for _ in range(30):
            await bot.send_input({"thrust": 1.0, "turn": 0.3})
            await asyncio.sleep(0.05)

        async def has_moved() -> bool:
            now = await evaluate(two, f"window.tickwire().world.table('ships').get({me})")
            theirs = await evaluate(two, f"window.tickwire().world.table('ships').get({joined.entity})")
            return theirs is not None and abs(now["x"] - start["x"]) + abs(now["y"] - start["y"]) > 5

        await eventually(has_moved)
        await keep_picture(one, "arena")
        await keep_picture(two, "arena-phone")
        shared: set[int] = set()

        async def share_ticks() -> bool:
            shared.clear()
            told[:] = [await evaluate(page, "window.sums") for page in (one, two)]
            shared.update(set(map(int, told[0])) & set(map(int, told[1])) & set(sums))
            return len(shared) > 20

        told: list[dict[str, int]] = []
        await eventually(share_ticks)
        assert [tick for tick in shared if not told[0][str(tick)] == told[1][str(tick)] == sums[tick]] == []
        for page in (one, two):
            core = await evaluate(page, "[window.tickwire().core.mismatches, window.tickwire().core.resyncs]")
            assert (core, errors_of(page)) == ([0, 0], [])


async def test_a_cut_connection_resumes_without_a_lost_event(games: Settings, browser: Browser) -> None:
    async with running(games) as shard, connect(shard.url) as bot:
        await bot.join("arena", name="lobby", options={"name": "bot"})
        page = await open_page(browser, page_of(shard, "arena", "ada"))
        await is_playing(page)
        await page.evaluate(EVENTS)
        for number in range(10):
            if number == 3:
                await page.click("#cut")
            await bot.command("say", f"line {number}")
        await page.wait_for_function("() => window.events.filter(([name]) => name === 'said').length === 10")
        said = await evaluate(page, "window.events.filter(([name]) => name === 'said').map(([, said]) => said.words)")
        assert said == [f"line {number}" for number in range(10)]
        counted = await evaluate(page, "[window.tickwire().resumes, window.tickwire().sessionsLost]")
        assert counted == [1, 0]
        assert await evaluate(page, "window.tickwire().core.eventsMissed") == 0
        assert await page.inner_text("#status") == ""
        assert errors_of(page) == []


async def test_page_continues_its_session_when_the_shard_drains(games: Settings, browser: Browser) -> None:
    async with running(games) as one, running(games) as other:
        page = await open_page(browser, page_of(one, "arena", "ada"))
        await is_playing(page)
        before = await evaluate(page, "[window.tickwire().core.sessionId, window.tickwire().room.entity]")
        await one.drain()
        await page.wait_for_function(
            f"() => window.tickwire().url === {other.url!r} && window.tickwire().state === 'connected'"
        )
        tick = await evaluate(page, "window.tickwire().world.tick")
        await page.keyboard.down("ArrowUp")
        await page.wait_for_function(f"() => window.tickwire().world.tick > {tick} + 10")
        after = await evaluate(page, "[window.tickwire().core.sessionId, window.tickwire().room.entity]")
        assert before == after
        assert await evaluate(page, "[window.tickwire().resumes, window.tickwire().sessionsLost]") == [1, 0]
        assert errors_of(page) == []


async def test_migrating_room_is_followed_on_a_slow_network(games: Settings, browser: Browser) -> None:
    async with running(games) as one, running(games) as other:
        page = await open_page(browser, page_of(one, "arena", "ada"))
        await is_playing(page)
        await page.select_option("#latency", "400")
        before = await evaluate(page, "window.tickwire().core.sessionId")
        moved = asyncio.create_task(one.drain())
        await page.wait_for_function(
            f"() => window.tickwire().url === {other.url!r} && window.tickwire().resumes > 0"
        )
        await moved
        assert await evaluate(page, "window.tickwire().core.sessionId") == before
        assert await evaluate(page, "[window.tickwire().resumes, window.tickwire().core.mismatches]") == [1, 0]
        assert errors_of(page) == []


async def test_the_page_plays_again_after_its_session_has_ended(games: Settings, browser: Browser) -> None:
    async with running(games) as shard:
        page = await open_page(browser, page_of(shard, "arena", "ada"))
        await is_playing(page)
        before = await evaluate(page, "window.tickwire().core.sessionId")
        await page.evaluate("() => window.tickwire().close()")
        assert await page.inner_text("#status") == "the connection is lost: closed"
        await page.click("nav a[href='#arena']")
        await is_playing(page)
        assert await evaluate(page, "window.tickwire().core.sessionId") != before
        assert await page.inner_text("#status") == ""


async def test_game_stays_playable_with_delay_from_the_network_panel(games: Settings, browser: Browser) -> None:
    async with running(games) as shard:
        page = await open_page(browser, page_of(shard, "arena", "ada"))
        await is_playing(page)
        await page.select_option("#latency", "150")
        await page.wait_for_function("() => parseFloat(document.getElementById('net-ping').textContent) >= 140")
        await page.keyboard.down("ArrowUp")
        await page.wait_for_function("() => window.tickwire().core.acknowledgedSeq > 20")
        await page.fill("#words", "hello there")
        await page.click("#say button")
        await page.wait_for_function("() => document.getElementById('said').textContent.includes('hello there')")
        assert errors_of(page) == []


async def test_plaza_sends_nearby_walkers_only(games: Settings, browser: Browser) -> None:
    async with running(games) as shard:
        page = await open_page(browser, page_of(shard, "plaza", "eve"), is_dark=True)
        await is_playing(page)
        size = await evaluate(page, "window.tickwire().world.table('walkers').size")
        assert 3 < size < 400, "of a thousand"
        box = await page.locator("#stage canvas").bounding_box()
        assert box is not None
        await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
        await page.mouse.down()
        me = await evaluate(page, "window.tickwire().room.entity")
        start = await evaluate(page, f"window.tickwire().world.table('walkers').number({me}, 'x')")
        await page.wait_for_function(
            f"() => window.tickwire().world.table('walkers').number({me}, 'x') > {start} + 5"
        )
        await keep_picture(page, "plaza")
        assert await evaluate(page, "window.tickwire().core.mismatches") == 0
        assert errors_of(page) == []


async def test_two_tabs_play_cards_without_each_others_hands(games: Settings, browser: Browser) -> None:
    async with running(games) as shard:
        ann = await open_page(browser, page_of(shard, "cards", "ann"))
        await ann.wait_for_selector(".hand button")
        joe = await open_page(browser, page_of(shard, "cards", "joe"), size=PHONE)
        await joe.wait_for_selector(".hand button")
        await ann.wait_for_function("() => document.querySelectorAll('.hands li').length === 2")
        cards = [await evaluate(page, "window.tickwire().world.table('cards').ids") for page in (ann, joe)]
        assert len(set(cards[0]) & set(cards[1])) == 1, "the pile alone"
        for _ in range(4):  # in turns: a card that fits, or one is drawn; by keyboard
            for page in (ann, joe):
                await page.wait_for_function("() => document.querySelector('.turn').textContent === 'Your turn'")
                fits = page.locator(".hand button.fits")
                await (fits.first if await fits.count() else page.locator(".draw")).press("Enter")
        await ann.wait_for_function("() => document.querySelector('.turn').textContent === 'Your turn'")
        await keep_picture(ann, "cards")
        await keep_picture(joe, "cards-phone")
        tops = [await page.inner_text(".cards:not(.hand) .card") for page in (ann, joe)]
        assert tops[0] == tops[1]
        assert errors_of(ann) == errors_of(joe) == []


async def test_console_shows_rooms_and_acts_only_after_confirmation(games: Settings, browser: Browser) -> None:
    async with running(games) as shard, connect(shard.url) as bot:
        await bot.join("arena", name="lobby", options={"name": "bot"})
        base = f"http://127.0.0.1:{shard.parts.operations.port}/console/"
        page = await open_page(browser, base)
        await page.wait_for_selector("#sign-in:not([hidden])")
        await page.fill("#token", "wrong")
        await page.click("#sign-in button")
        await page.wait_for_function("() => document.getElementById('status').textContent.includes('bearer token')")
        await page.fill("#token", shard.settings.operations.token)
        await page.click("#sign-in button")
        await page.wait_for_selector("#fleet td")
        assert shard.shard_id in await page.inner_text("#fleet")
        await page.wait_for_function("() => document.getElementById('legend').textContent.includes('ships: 1')")
        await page.wait_for_function("() => parseFloat(document.getElementById('ticks-now').textContent) > 5")
        await keep_picture(page, "console")
        await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        await keep_picture(page, "console-phone")
        assert shard.settings.operations.token not in page.url
        for answer, is_left in (("no", 1), ("yes", 0)):
            await page.click("#close-room")
            await page.click(f"#confirm button[value={answer}]")
            await eventually(lambda wanted=is_left: len(shard.parts.host) == wanted)
        assert await admin(shard.parts.operations.port, "GET", "/rooms") == []
        assert errors_of(page) == []


async def test_a_press_in_the_console_that_takes_longer_than_a_refresh_counts(
    games: Settings, browser: Browser
) -> None:
    async with running(games) as shard, connect(shard.url) as bot:
        await bot.join("arena", name="lobby", options={"name": "bot"})
        base = f"http://127.0.0.1:{shard.parts.operations.port}/console/#token={shard.settings.operations.token}"
        page = await open_page(browser, base)
        button = page.locator("#sessions button")
        box = await button.bounding_box()
        assert box is not None
        await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        await page.mouse.down()
        tick = await page.inner_text("#room-title")
        await page.wait_for_function(f"() => document.getElementById('room-title').textContent !== {tick!r}")
        await page.mouse.up()
        await page.wait_for_selector("#confirm[open]")
