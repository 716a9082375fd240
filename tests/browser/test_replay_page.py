"""The replay page in a real browser: it plays, steps and seeks a recorded arena, and shows the values of the room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import PHONE, errors_of, keep_picture
from tests.browser.test_content_security import open_and_collect
from tests.harness.arena_recordings import LEAVE_TICK, SAY_TICK, TICKS, DivergedArena, record_arena
from tests.harness.polling import eventually
from tickwire import Room
from tickwire.examples.arena import Arena
from tickwire.server.recording.reader import Recording
from tickwire.server.viewer.player import RecordingPlayer
from tickwire.server.viewer.server import ViewerServer
from tickwire.server.viewer.tables import DIGITS

MARKUP = "<img src=x onerror=alert(1)>\x1b[2J\u202e"


@asynccontextmanager
async def served(room_class: type[Room] = Arena, data: bytes | None = None) -> AsyncIterator[str]:
    """The address of the page with a recording, by default the recorded arena."""
    player = RecordingPlayer(Recording(data or record_arena().data), room_class, "arena.tickrec")
    server = ViewerServer(player)
    await server.start(0)
    player.start()
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        await server.stop()
        await player.stop()


@pytest.fixture
async def page(built: Path, browser: Browser) -> AsyncIterator[Page]:
    """The page at the first tick."""
    async with served() as url:
        page = await open_and_collect(browser, url)
        await shows(page, 0)
        yield page
        assert await page.evaluate("() => window.violations") == []
        assert errors_of(page) == []
        assert await page.inner_text("#status") == ""


async def shows(page: Page, tick: int) -> None:
    """Wait until the page shows a tick."""
    await page.wait_for_function(f"() => document.body.dataset.tick === '{tick}'", timeout=60_000)


async def shown_ships(page: Page) -> dict[int, tuple[str, str, str]]:
    """The cells x, y and hp of the table of ships, by id."""
    rows = await page.evaluate(
        """() => {
          const [head, ...rows] = document.querySelectorAll("#rows tr");
          const names = [...head.children].map((cell) => cell.textContent);
          const places = ["id", "x", "y", "hp"].map((name) => names.indexOf(name));
          return rows.map((row) => places.map((place) => row.children[place].textContent));
        }"""
    )
    return {int(id): (x, y, hp) for id, x, y, hp in rows}


def recorded_ships(tick: int) -> dict[int, tuple[str, str, str]]:
    return {id: (f"{x:.3f}", f"{y:.3f}", str(hp)) for id, (x, y, hp) in record_arena().states[tick].items()}


async def test_it_plays_pauses_and_steps_by_keyboard(page: Page) -> None:
    await page.keyboard.press("Space")
    await page.wait_for_selector("#play:text-is('Pause')")
    await page.wait_for_function("() => Number(document.body.dataset.tick) >= 15", timeout=60_000)
    await page.keyboard.press("Space")
    await page.wait_for_selector("#play:text-is('Play')")
    tick = int(await page.input_value("#tick"))
    await page.keyboard.press("ArrowRight")
    await shows(page, tick + 1)
    assert await shown_ships(page) == recorded_ships(tick + 1)
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await shows(page, tick - 1)
    assert await shown_ships(page) == recorded_ships(tick - 1)
    await page.keyboard.press("End")
    await shows(page, TICKS)
    await page.keyboard.press("Shift+ArrowLeft")
    await shows(page, TICKS - 20)


async def test_the_slider_seeks_and_changed_cells_are_marked(page: Page) -> None:
    for tick in (237, 12, 399, 100):
        await page.fill("#slider", str(tick))
        await shows(page, tick)
        assert await shown_ships(page) == recorded_ships(tick)
    states = record_arena().states
    expected = [
        [round(now, DIGITS) != round(old, DIGITS) for now, old in zip(ship, states[99][id], strict=True)]
        for id, ship in states[100].items()
    ]

    async def is_marked() -> bool:
        return expected == await page.evaluate(
            """() => [...document.querySelectorAll("#rows tr")].slice(1).map((row) =>
              [1, 2, 4].map((place) => row.children[place].matches(".changed")))"""
        )

    await eventually(is_marked)


async def test_a_click_on_an_entry_shows_its_tick(page: Page) -> None:
    await page.fill("#tick", str(SAY_TICK - 5))
    await page.press("#tick", "Enter")
    entry = page.locator("#entries li.command", has_text="hello")
    await entry.get_by_role("button").click()
    await shows(page, SAY_TICK)
    for kind in ("command", "event"):
        await page.locator(f"#entries li.{kind}[aria-current]", has_text="hello").wait_for()
    await page.uncheck("#kinds label:has-text('event') input")
    await page.wait_for_function("() => !document.querySelector('#entries li.event')")
    await page.fill("#slider", str(LEAVE_TICK))
    await page.wait_for_selector("#entries li.leave[aria-current]")


async def test_a_click_on_a_row_selects_the_entity_and_the_address_links_to_it(page: Page) -> None:
    await page.fill("#slider", "60")
    await shows(page, 60)
    await page.click("#rows tr:nth-child(4)")
    await page.wait_for_selector("#entity:not([hidden]) canvas")
    id = list(recorded_ships(60))[2]
    assert await page.inner_text("#entity-title") == f"ships {id}"
    hp = recorded_ships(60)[id][2]
    assert await page.inner_text("#fields figure:has-text('hp') b") == hp
    await page.wait_for_function(f"() => location.hash === '#tick=60&entity=ships:{id}'")
    link = page.url
    await page.goto("about:blank")
    await page.goto(link)
    await shows(page, 60)
    assert await page.inner_text("#entity-title") == f"ships {id}"


async def test_a_row_is_selected_by_keyboard_and_keeps_the_focus(page: Page) -> None:
    await page.fill("#slider", "60")
    await shows(page, 60)
    id = list(recorded_ships(60))[1]
    await page.focus("#rows tr:nth-child(3) button")
    await page.keyboard.press("Enter")
    await page.wait_for_selector(f"#entity-title:text-is('ships {id}')")
    await page.keyboard.press("ArrowRight")
    await shows(page, 61)
    assert await page.evaluate("() => document.activeElement.textContent") == str(id)


async def test_a_click_in_the_world_selects_the_nearest_entity(page: Page) -> None:
    await page.fill("#slider", "1")
    await shows(page, 1)
    box = await page.locator("#world").bounding_box()
    assert box is not None
    id, (x, y, _) = next(iter(record_arena().states[1].items()))
    size = min(box["width"], box["height"])
    left, top = ((value + 500) / 1000 * (size - 20) for value in (x, y))
    edge_x, edge_y = (box["width"] - size) / 2 + 10, (box["height"] - size) / 2 + 10
    await page.click("#world", position={"x": edge_x + left, "y": edge_y + top})
    await page.wait_for_selector("#entity:not([hidden])")
    assert await page.inner_text("#entity-title") == f"ships {id}"


async def test_the_divergence_of_other_code_is_marked_and_reached_with_a_click(built: Path, browser: Browser) -> None:
    async with served(DivergedArena) as url:
        page = await open_and_collect(browser, url)
        await page.wait_for_selector("#divergence:not([hidden])", timeout=60_000)
        first_hit = record_arena().first_hit
        assert await page.inner_text("#divergence") == f"diverges at tick {first_hit}"
        await page.click("#divergence")
        await shows(page, first_hit)
        await page.wait_for_selector("#entries li.divergence[aria-current]")
        assert errors_of(page) == []


async def test_a_damaged_place_is_reported_and_the_play_passes_it(built: Path, browser: Browser) -> None:
    data = bytearray(record_arena().data)
    keyframe = Recording(bytes(data)).keyframes[2]
    data[keyframe.offset - 200] ^= 0xFF
    async with served(data=bytes(data)) as url:
        page = await open_and_collect(browser, f"{url}#tick={keyframe.tick - 1}")
        await page.wait_for_selector("#status:has-text('the file has no intact state of this tick')", timeout=60_000)
        await page.wait_for_selector("#status:has-text('the file is damaged: ticks')", timeout=60_000)
        await page.click("#play")
        await page.wait_for_function(f"() => Number(document.body.dataset.tick) > {keyframe.tick}", timeout=60_000)
        assert "no intact state" not in await page.inner_text("#status")
        assert errors_of(page) == []


async def test_a_drag_of_the_slider_sends_one_request_at_a_time(page: Page) -> None:
    """The server replays one after the other: a queue of old requests would delay the tick that is shown."""
    await page.evaluate(
        """() => {
          const real = window.fetch;
          window.open_requests = 0;
          window.most_requests = 0;
          window.fetch = async (url, options) => {
            const isStates = String(url).includes("/states");
            if (isStates) window.most_requests = Math.max(window.most_requests, ++window.open_requests);
            try {
              return await real(url, options);
            } finally {
              if (isStates) window.open_requests--;
            }
          };
        }"""
    )
    for tick in range(390, 10, -10):
        await page.fill("#slider", str(tick))
    await page.fill("#slider", "333")
    await shows(page, 333)
    assert await page.evaluate("() => window.most_requests") == 1


async def test_text_of_players_is_shown_as_text(built: Path, browser: Browser) -> None:
    async with served(data=record_arena(pilots=2, words=MARKUP).data) as url:
        page = await open_and_collect(browser, f"{url}#tick={SAY_TICK}")
        entry = page.locator("#entries li.command", has_text="<img")
        await entry.wait_for(timeout=60_000)
        assert await page.locator("#entries img, #rows img").count() == 0
        assert errors_of(page) == []
        assert await page.evaluate("() => window.violations") == []


async def test_it_fits_a_phone_and_dark_colours(page: Page) -> None:
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    await page.emulate_media(color_scheme="dark")
    await page.fill("#slider", "200")
    await shows(page, 200)
    assert await page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    await keep_picture(page, "replay-phone")
