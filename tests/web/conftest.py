"""One lively exchange and one browser for all tests of the page."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)

from tests.waiting import WITHIN_S
from tests.web.browser import ARGUMENTS, CHROMIUM
from tests.web.scene import Scene, open_scene

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "page"
"""Where pictures of the run go."""
AXE = ROOT / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
DESK = (1_440, 900)
WATCH = """
  window.refused = [];
  addEventListener("securitypolicyviolation", (event) => {
    window.refused.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
  });
"""

# Playwright would wait for five seconds.
expect.set_options(timeout=WITHIN_S * 1_000)

Open = Callable[..., AbstractAsyncContextManager[Page]]


def pytest_report_header() -> str:
    browser = CHROMIUM or "none: tests of the page are skipped; make browser installs one"
    return f"browser: {browser}; pictures of the page: {PICTURES}"


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path_factory.mktemp("scene")) as scene:
        scene.play()
        yield scene


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip("chromium is not installed: make browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=2 * WITHIN_S * 1_000
        )
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
def open_page(scene: Scene, browser: Browser) -> Open:
    """Opens the page in a fresh context; at its end nothing may have been refused or gone wrong."""

    @contextlib.asynccontextmanager
    async def opened(
        address: str = "",
        key: str = "",
        size: tuple[int, int] = DESK,
        theme: str = "light",
        expected: str = "",
        **more: Any,
    ) -> AsyncIterator[Page]:
        width, height = size
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            **more,
        )
        context.set_default_timeout(WITHIN_S * 1_000)
        wrong: list[str] = []
        page = await _prepared(context, wrong, expected)
        try:
            await page.goto(scene.url + (f"#key={key}" if key else address))
            if key:
                await page.locator(".who").wait_for()
                if address:
                    await page.evaluate("address => { location.hash = address; }", address)
            yield page
            assert await page.evaluate("window.refused") == []
            assert wrong == []
        finally:
            await context.close()

    return opened


async def _prepared(context: BrowserContext, wrong: list[str], expected: str) -> Page:
    """A page that notes what goes wrong on it, but for messages of the expected pattern."""
    await context.add_init_script(WATCH)
    page = await context.new_page()

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (
            expected and re.search(expected, message.text)
        ):
            wrong.append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    return page


async def picture(page: Page, name: str) -> None:
    """Keep a picture of what is seen."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=os.fspath(PICTURES / f"{name}.png"))
