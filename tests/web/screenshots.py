"""The README's pictures of the page, from a lively exchange: `make screenshots`.

Each is written as a PNG of 256 colours, so that it is small.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from flopex.demo.scenario import PAPER_INSTRUMENT
from tests.web.browser import ARGUMENTS, CHROMIUM
from tests.web.scene import QUESTIONS, Scene, open_scene

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
WARM_UP_S = 100
"""Seconds of trading before the pictures, so that candles have something to show."""
DESK = (1_440, 900)
PHONE = (360, 780)
BYTES_MAX = 200_000


async def opened(
    browser: Browser, scene: Scene, key: str, size: tuple[int, int], theme: str
) -> Page:
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
    )
    page = await context.new_page()
    await page.goto(f"{scene.url}#key={key}")
    await page.locator(".who").wait_for()
    return page


async def keep(page: Page, name: str) -> None:
    """Take the picture, and make it small."""
    await page.wait_for_timeout(1_500)
    taken = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    path = FOLDER / f"{name}.png"
    taken.quantize(256, Image.Quantize.MEDIANCUT).save(path, optimize=True)
    size = path.stat().st_size
    assert size < BYTES_MAX, f"{path} has {size} bytes"
    print(f"{path}: {size:,} bytes", flush=True)


async def market(page: Page, name: str) -> None:
    await page.evaluate(f"location.hash = '#/market/{PAPER_INSTRUMENT}'")
    await page.locator("#trades tbody tr").nth(20).wait_for()
    await page.locator("#chart .choice").get_by_text("1 s", exact=True).click()
    await page.wait_for_timeout(3_000)
    await keep(page, name)


async def trade(page: Page) -> None:
    """Rest two orders, so that the ladder shows whose they are."""
    await page.evaluate(f"location.hash = '#/market/{PAPER_INSTRUMENT}'")
    for side, row in (("bid", 2), ("bid", 3)):
        await page.locator(f".side.{side} .line-price button").nth(row).click()
        await page.locator("#ticket input[name=quantity]").fill("2.5")
        await page.locator("#ticket [type=submit]").click()
        await page.locator("#ticket .said").wait_for()


async def console(page: Page, name: str) -> None:
    await page.evaluate("location.hash = '#/console'")
    await page.locator("select[name=way]").select_option("adaptive-tiny · interactive")
    for question in (QUESTIONS[0], QUESTIONS[3]):
        await page.locator("textarea[name=question]").fill(question)
        await page.locator("#ask [type=submit]").click()
        await page.locator(".story").first.locator(".bill").wait_for(timeout=30_000)
    await keep(page, name)


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        async with open_scene(Path(directory)) as scene, async_playwright() as playwright:
            scene.play()
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            await asyncio.sleep(WARM_UP_S)
            trader = await opened(browser, scene, scene.keys.paper, DESK, "dark")
            await trade(trader)
            await market(trader, "market")
            await console(await opened(browser, scene, scene.keys.yours, DESK, "light"), "console")
            operator = await opened(browser, scene, scene.cast.operator_key, DESK, "light")
            await operator.evaluate("location.hash = '#/operator'")
            await operator.locator("#accounts tbody tr").first.wait_for()
            await keep(operator, "operator")
            phone = await opened(browser, scene, scene.keys.paper, PHONE, "dark")
            await phone.evaluate(f"location.hash = '#/market/{PAPER_INSTRUMENT}'")
            await phone.locator("#ladder .line-price").nth(10).wait_for()
            await phone.locator("#ladder").scroll_into_view_if_needed()
            await phone.evaluate("document.querySelector('#chart').scrollIntoView()")
            await keep(phone, "phone")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
