"""Fixtures: a real headless Chromium and the built web client. Tests are skipped if one is missing, except in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.e2e.conftest import shard_settings
from tickwire.server.viewer.server import PAGE

__all__ = ["shard_settings"]  # a fixture of those tests, used here, too

ROOT = Path(__file__).parents[2]
DIST = ROOT / "web" / "dist"
ARTEFACTS = ROOT / "web" / "artefacts"
CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
DESKTOP, PHONE = {"width": 1200, "height": 760}, {"width": 390, "height": 800}


def require(condition: object, what: str) -> None:
    """Skip the test if a program is missing; fail in CI."""
    if condition:
        return
    if os.environ.get("TICKWIRE_BROWSER"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder with the built demo and console; the replay page is built with them."""
    require(CHROMIUM, "chromium is not installed: apt-get install chromium")
    if not (DIST / ".built").exists() or not (PAGE / "index.html").exists():
        done = subprocess.run(["make", "web"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        require(done.returncode == 0, f"the web client cannot be built: {done.stderr[-500:]}")
        require((PAGE / "index.html").exists(), "the replay page is missing although `make web` has nothing to do")
    return DIST


@pytest.fixture
async def browser(built: Path) -> AsyncIterator[Browser]:
    """A browser; each page has a context of its own."""
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield launched
        await launched.close()


async def open_page(browser: Browser, url: str, *, size: dict[str, int] = DESKTOP, is_dark: bool = False) -> Page:
    """A page whose errors fail the test that looks at `errors_of`."""
    page = await browser.new_page(viewport=size, color_scheme="dark" if is_dark else "light")  # type: ignore[arg-type]
    page.errors = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
    await page.goto(url)
    return page


def errors_of(page: Page) -> list[str]:
    """Uncaught exceptions of the page."""
    return list(page.errors)  # type: ignore[attr-defined]


async def keep_picture(page: Page, name: str) -> None:
    """A screenshot, as an artefact."""
    ARTEFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png")
