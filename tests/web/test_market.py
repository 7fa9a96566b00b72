"""The market's view in a browser: live figures of a real exchange with real workers."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from flopex.demo.scenario import PAPER_INSTRUMENT
from tests.web.conftest import Open
from tests.web.scene import Scene, until

pytestmark = pytest.mark.asyncio(loop_scope="package")

PAPER = f"#/market/{PAPER_INSTRUMENT}"
BATCH = "#/market/instant%2Fcpu%2Finteractive"


async def shown(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in await page.locator(selector).all_text_contents()]


async def test_what_is_public_is_seen_without_a_key(open_page: Open) -> None:
    async with open_page(PAPER) as page:
        await expect(page.locator("#connection")).to_have_text("● Live")
        await expect(page.locator(".counters .figure")).to_have_count(6)
        await expect(page.get_by_text("✓ balanced over all accounts")).to_be_visible()
        await expect(page.locator(".instrument-model")).to_have_count(5)
        assert PAPER_INSTRUMENT in await shown(page, ".instrument-model")
        await expect(page.locator(".instrument[aria-current]")).to_contain_text(PAPER_INSTRUMENT)
        await expect(page.locator("#workers tbody tr")).to_have_count(3)
        worker = page.locator("#workers tbody tr", has_text="abacus")
        await expect(worker).to_contain_text("adaptive-tiny")
        await expect(worker).to_contain_text("● ready")
        await expect(worker).to_contain_text(re.compile(r"\d+ cores"))
        await expect(page.locator("#chart canvas").first).to_be_visible()
        await expect(page.get_by_text("TradingView")).to_be_visible()
        await expect(page.locator("#ticket")).to_contain_text("Sign in")
        assert await page.locator("nav a", has_text="Operator").count() == 0


async def settled_ladder(page: Page, scene: Scene) -> tuple[list[int], list[int]]:
    """The asks and the bids that the page shows, once they are those of a book that is still."""

    async def prices(side: str) -> list[int]:
        texts = await shown(page, f".side.{side} .line-price")
        return [int(text.replace(",", "")) for text in texts]

    async def same() -> bool:
        book = await operator.market.book(PAPER_INSTRUMENT, depth=50)
        asks, bids = await prices("ask"), await prices("bid")
        best_asks = [level.price_nanos for level in book.asks[: len(asks)]]
        best_bids = [level.price_nanos for level in book.bids[: len(bids)]]
        return bool(asks and bids) and asks[::-1] == best_asks and bids == best_bids

    async with scene.operator() as operator:
        await until(same)
    return await prices("ask"), await prices("bid")


async def test_ladder_tape_and_clock_are_live(open_page: Open, scene: Scene) -> None:
    async with open_page(PAPER) as page:
        first = page.locator("#trades tbody tr").first
        before = await first.text_content()
        await expect(first).not_to_have_text(before or "")
        assert {"▲ bid", "▼ ask"} & set(await shown(page, "#trades .taker"))
        async with scene.still():
            asks, bids = await settled_ladder(page, scene)
        assert asks == sorted(asks, reverse=True)
        assert bids == sorted(bids, reverse=True)
        assert len(asks) > 3
        assert bids[0] < asks[-1]
        await expect(page.locator(".clock")).to_contain_text("in the last 60 s")
        await expect(page.locator(".face-mark")).not_to_have_count(0)


async def test_the_depth_of_a_book_is_drawn_and_read(open_page: Open) -> None:
    async with open_page(PAPER) as page:
        await page.get_by_text("Depth", exact=True).click()
        await expect(page.locator(".depth polygon")).to_have_count(2)
        await expect(page.locator(".depth-said")).to_contain_text("bid")
        plot = page.locator(".depth-plot")

        async def read() -> bool:
            await plot.hover(position={"x": 3, "y": 20})  # again where the page has moved
            return "at this price or better" in "".join(await shown(page, ".depth-said"))

        await until(read)


async def test_a_batch_book_shows_slots_and_its_clock(open_page: Open, scene: Scene) -> None:
    async with open_page(BATCH) as page, scene.operator() as operator:
        await expect(page.locator(".clock")).to_contain_text("Batch auction")

        async def same() -> bool:
            book = await operator.market.book("instant/cpu/interactive")
            asks = [f"{level.price_nanos:,}" for level in reversed(book.asks)]
            return bool(asks) and await shown(page, ".side.ask .line-price") == asks

        await until(same)
        await expect(page.locator(".side.ask .side-title")).to_contain_text("free slots")
        await expect(page.locator("#ticket")).to_contain_text("ask a question")


async def test_candles_of_the_exchange_and_the_days_figures(open_page: Open, scene: Scene) -> None:
    async with open_page(PAPER, key=scene.keys.paper) as page:
        await expect(page.locator(".headline")).to_contain_text("24 h volume")
        await expect(page.locator(".headline")).to_contain_text("Hourly index")
        await expect(page.locator(".instrument[aria-current] .instrument-day")).to_contain_text(
            re.compile(r"spread .* · 24 h .*FLOP · index")
        )
        for width in ("1 s", "5 min", "1 h", "1 min"):
            await page.locator("#chart .choice").get_by_text(width, exact=True).click()
            chart = page.locator(".chart")
            await expect(chart).to_have_attribute(
                "aria-label", re.compile(r"[1-9]\d* candles; the last: open [\d,]+")
            )


async def test_orders_are_placed_seen_and_cancelled(open_page: Open, scene: Scene) -> None:
    async with open_page(PAPER, key=scene.keys.paper) as page, scene.still():
        await expect(page.locator("#ladder .unit")).to_contain_text("every change")
        asks, bids = await settled_ladder(page, scene)
        picked = page.locator("#ticket input[name=price]")
        await page.locator(".side.ask .line-price button").last.click()
        await expect(picked).to_have_value(str(asks[-1]))
        await expect(page.locator("#ticket")).to_contain_text("Costs at most")
        price = bids[3]  # deep enough to rest, near enough to be seen
        await page.locator(".side.bid .line-price button").nth(3).click()
        await expect(picked).to_have_value(str(price))
        await page.locator("#ticket input[name=quantity]").fill("0.5")
        await page.locator("#ticket [type=submit]").click()
        await expect(page.locator("#ticket [role=status]")).to_contain_text("✓ Order")
        row = page.locator("#orders tbody tr", has_text=f"{price:,}").last
        await expect(row).to_contain_text("▲ bid")
        async with scene.client("paper-you") as client:
            (order,) = [order async for order in client.orders.list()]
            assert (order.price_nanos, order.quantity_mflop) == (price, 500_000)
        await expect(page.locator(".side.bid .own")).to_have_count(1)
        await row.get_by_role("button", name="Cancel order").click()
        await expect(page.locator("#orders")).to_contain_text("No open orders")
        await expect(page.locator(".own")).to_have_count(0)


async def test_an_order_that_is_refused_says_why(open_page: Open, scene: Scene) -> None:
    async with open_page(PAPER, key=scene.keys.paper) as page:
        await page.locator("#ticket input[name=price]").fill("99999999")
        await page.locator("#ticket input[name=quantity]").fill("1")
        await page.locator("#ticket [type=submit]").click()
        await expect(page.locator("#ticket [role=status]")).to_contain_text("✕ Refused: price")


async def test_the_keyboard_does_it_all(open_page: Open) -> None:
    async with open_page() as page:
        await page.locator(".instrument").first.focus()
        await page.keyboard.press("ArrowDown")
        await expect(page.locator(".instrument").nth(1)).to_have_attribute("aria-current", "true")
        await expect(page.locator(".instrument").nth(1)).to_be_focused()
        await page.keyboard.press("4")
        await expect(page.locator("nav a[aria-current]")).to_have_text("Workers")
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        await page.get_by_label("Single keys work anywhere").uncheck()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await page.keyboard.press("1")
        await expect(page.locator("nav a[aria-current]")).to_have_text("Workers")


async def test_the_theme_is_chosen_and_kept(open_page: Open) -> None:
    async with open_page(theme="light") as page:
        body, back = page.locator("body"), "background-color"
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.locator("#theme").click()  # light
        await expect(body).to_have_css(back, light)
        await page.locator("#theme").click()  # dark
        await expect(body).not_to_have_css(back, light)
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.reload()
        await expect(body).to_have_css(back, dark)


async def test_a_thousand_changes_a_second_are_one_draw_a_frame(
    open_page: Open, scene: Scene
) -> None:
    """The stream that the page is given is full; what it holds at the end is right."""
    from tests.web.flood import Flood

    async with open_page(PAPER) as page:
        flood = Flood(page, PAPER_INSTRUMENT)
        await flood.route()
        await page.evaluate(flood.COUNT)
        await page.locator("#sign-in-open").click()
        await page.locator("input[name=key]").fill(scene.keys.paper)
        await page.keyboard.press("Enter")
        await expect(page.locator("#ladder .unit")).to_contain_text("every change")
        await flood.pour()
        best = page.locator(".side.bid .line").first
        await expect(best).to_contain_text("1,7009.009.00")
        counted = await page.evaluate("window.counted")
        assert flood.subscriptions == 1, "the book was lost and asked for again"
        assert 0 < counted["draws"] <= counted["frames"]
