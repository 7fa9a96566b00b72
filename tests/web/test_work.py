"""Console, jobs, account and operator in a browser, with real jobs on real workers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from exchange.client import JobState
from exchange.metering.adaptive import AdaptiveTrace
from exchange.metering.receipts import parse_signed_bytes
from exchange.metering.traces import decode_trace
from flopex.demo.scenario import PAPER_INSTRUMENT
from flopex.render.format import money
from tests.web.conftest import Open, picture
from tests.web.scene import QUESTIONS, Scene, until

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def ask(page: Page, way: str, question: str, **fields: str) -> None:
    """Fill in the console's form and send it."""
    await page.locator("select[name=way]").select_option(way)
    await page.locator("textarea[name=question]").fill(question)
    for name, text in fields.items():
        await page.locator(f"#ask input[name={name}]").fill(text)
    await page.locator("#ask [type=submit]").click()


async def test_a_key_in_the_address_is_taken_out_of_it_and_kept_in_the_tab(
    open_page: Open, scene: Scene
) -> None:
    async with open_page(key=scene.keys.yours) as page:
        await expect(page.locator(".who")).to_contain_text("you")
        assert "flx_" not in page.url
        await page.reload()
        await expect(page.locator(".who")).to_contain_text("you")
        await page.goto(f"{scene.url}#/account")
        await page.locator("#sign-out").click()
        await expect(page.locator("#sign-in-open")).to_be_visible()
        await page.reload()
        await expect(page.locator("#sign-in-open")).to_be_visible()
        assert await page.evaluate("JSON.stringify([sessionStorage, localStorage])") == "[{},{}]"
        # Into the address of a page that is open already.
        await page.evaluate("key => { location.hash = `#key=${key}`; }", scene.keys.paper)
        await expect(page.locator(".who")).to_contain_text("paper-you")
        assert "flx_" not in page.url


async def test_a_wrong_key_is_refused_with_words(open_page: Open) -> None:
    async with open_page(expected="401") as page:
        await page.locator("#sign-in-open").click()
        await page.locator("input[name=key]").fill("flx_short")
        await page.keyboard.press("Enter")
        await expect(page.locator("#sign-in-error")).to_contain_text("flx_ and 43 characters")
        await page.locator("input[name=key]").fill("flx_" + "x" * 43)
        await page.keyboard.press("Enter")
        await expect(page.locator("#sign-in-error")).to_contain_text("no such API key")


async def test_the_consoles_whole_story(open_page: Open, scene: Scene) -> None:
    async with open_page("#/console", key=scene.keys.yours) as page, scene.client("you") as client:
        await ask(page, "adaptive-tiny · interactive", QUESTIONS[3], worth="0.001", tokens="4")
        story = page.locator(".story").first
        await expect(story.locator(".steps li[data-done]")).to_have_count(5)
        job = await anext(aiter(client.jobs.list()))
        answer = await client.jobs.output(job.job_id)
        receipt = await client.account.receipt(job_id=job.job_id)
        trace = decode_trace(parse_signed_bytes(receipt.signed_bytes).trace)
        assert isinstance(trace, AdaptiveTrace)
        await expect(story.locator(".story-answer")).to_have_text(answer.strip())
        strips = story.locator(".heat li")
        await expect(strips).to_have_count(len(trace.thoughts))
        for i, thought in enumerate(trace.thoughts):
            await expect(strips.nth(i).locator("i")).to_have_count(len(thought.steps))
        steps = story.locator(".steps")
        await expect(steps).to_contain_text(f"{job.worker} at {job.price_nanos:,} nano$/CU")
        signed = f"lease {receipt.lease_id}, signed by {receipt.worker}"
        await expect(steps).to_contain_text(signed)
        await expect(story.locator(".bill dd")).to_have_count(3)
        paid, held, rest = await story.locator(".bill dd").all_text_contents()
        assert paid == money(job.paid_nanos)
        assert nanos(paid) + nanos(rest) == nanos(held)
        await picture(page, "console-story")
        await page.evaluate("location.hash = '#/jobs'")
        row = page.locator("#jobs tbody tr").first
        await expect(row).to_contain_text(str(job.job_id))
        await expect(row).to_contain_text("✓ settled")
        await row.get_by_role("button").click()
        await expect(page.locator("#job .story-answer")).to_have_text(answer.strip())
        await expect(page.locator("#job .facts")).to_contain_text(f"{receipt.flops:,} FLOP")
        await page.evaluate("location.hash = '#/account'")
        entry = page.locator("#ledger tbody tr", has_text=f"lease {receipt.lease_id}")
        await expect(entry).to_contain_text("\N{MINUS SIGN}")
        assert nanos((await entry.locator("td").last.text_content() or "")[1:]) == job.paid_nanos


def nanos(text: str) -> int:
    whole, part = text.removeprefix("$").split(".")
    return int(whole + part.ljust(9, "0"))


async def test_a_bid_waits_in_the_ladder_and_is_taken_back(open_page: Open, scene: Scene) -> None:
    async with open_page("#/console", key=scene.keys.yours) as page, scene.client("you") as client:
        # Worth far less than any worker asks.
        await ask(
            page, "instant · batch", "Wait for me.", worth="0.000005", deadline="600", tokens="48"
        )
        await expect(page.locator(".side.bid .own")).to_be_visible()
        story = page.locator(".story").first
        await expect(story.locator(".steps")).to_contain_text("held, for at most")
        await picture(page, "console-waiting")
        await story.get_by_role("button", name="Stop the work and the bill").click()
        await expect(story.locator(".story-answer")).to_contain_text("No answer: the job cancelled")
        await expect(page.locator(".side.bid .own")).to_have_count(0)
        job = await anext(aiter(client.jobs.list()))
        assert (job.state, job.paid_nanos, job.escrow_nanos) == (JobState.CANCELLED, 0, 0)


async def test_stopping_a_running_job_stops_its_bill(open_page: Open, scene: Scene) -> None:
    async with open_page("#/console", key=scene.keys.yours) as page, scene.client("you") as client:
        await ask(
            page,
            "instant · interactive",
            "Go on for long.",
            worth="0.1",
            tokens="1500",
            deadline="600",
        )
        story = page.locator(".story").first
        await expect(story.locator(".story-answer")).to_contain_text("token token")
        await story.get_by_role("button", name="Stop the work and the bill").click()
        await expect(story.locator(".bill")).to_be_visible()
        await expect(story.locator(".steps")).to_contain_text("cancelled")
        job = await anext(aiter(client.jobs.list()))
        assert job.state == JobState.CANCELLED
        assert 0 < job.output_tokens < 1_500
        await expect(story.locator(".bill dd").first).to_have_text(money(job.paid_nanos))


async def test_what_cannot_be_done_is_refused_with_words(open_page: Open, scene: Scene) -> None:
    async with open_page("#/console", key=scene.keys.yours, expected="status of 400") as page:
        await page.locator("#ask [type=submit]").click()
        await expect(page.locator("#ask [role=alert]")).to_contain_text("Type a question first")
        await ask(page, "instant · batch", "Too soon.", deadline="1", tokens="2000")
        await expect(page.locator(".story .error")).to_contain_text("✕")
        await expect(page.locator(".story .steps")).to_have_count(0)


async def test_the_operator_sees_invariants_and_halts_with_a_second_thought(
    open_page: Open, scene: Scene
) -> None:
    async with (
        open_page("#/operator", key=scene.cast.operator_key) as page,
        scene.operator() as operator,
    ):
        await expect(page.locator("#invariants")).to_contain_text("✓ balanced")
        await expect(page.locator("#invariants")).to_contain_text("✓ never")
        await expect(page.locator("#invariants")).to_contain_text("Read model behind")
        await page.get_by_role("button", name="Check everything now").click()
        await expect(page.locator(".check-said")).to_contain_text(
            re.compile("✓ every structure's check holds; digest [0-9a-f]{16}")
        )
        row = page.locator("#halts tbody tr", has_text="adaptive-tiny/cpu/batch")
        await row.get_by_role("button", name="Halt").click()
        await page.get_by_role("button", name="Leave it").click()
        await expect(row).to_contain_text("● open")
        await row.get_by_role("button", name="Halt").click()
        await page.locator("#confirm .danger").click()
        await expect(row).to_contain_text("‖ halted")
        await row.get_by_role("button", name="Resume").click()
        await page.locator("#confirm .primary").click()
        await expect(row).to_contain_text("● open")
        account = page.locator("#accounts tbody tr", has_text="dan")
        await account.get_by_role("button", name="Halt").click()
        await page.locator("#confirm .danger").click()
        await expect(account).to_contain_text("‖ halted")
        halted = {one.name for one in await operator.admin.accounts() if one.halted}
        assert halted == {"dan"}
        worker = page.locator("#workers tbody tr", has_text="quiet-tower")
        await worker.get_by_role("button", name="Pause").click()
        await page.locator("#confirm .danger").click()
        await expect(worker).to_contain_text("‖ paused")
        await worker.get_by_role("button", name="Resume").click()
        await page.locator("#confirm .primary").click()
        await expect(worker).to_contain_text("● ready")


async def test_a_trader_has_no_operators_view(open_page: Open, scene: Scene) -> None:
    async with open_page("#/operator", key=scene.keys.yours) as page:
        await expect(page.locator("#instruments")).to_be_visible()
        assert await page.locator("nav a", has_text="Operator").count() == 0


async def test_it_connects_again_after_a_restart(
    open_page: Open, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, start = asyncio.Event(), scene.cast._open

    async def start_later(address: str, http: str) -> dict[str, Any]:
        await seen.wait()
        return await start(address, http)

    # It comes back once the page was seen without it, and no sooner.
    monkeypatch.setattr(scene.cast, "_open", start_later)
    async with open_page(
        f"#/market/{PAPER_INSTRUMENT}", key=scene.keys.paper, expected="WebSocket connection|ERR_"
    ) as page:
        await expect(page.locator("#ladder .unit")).to_contain_text("every change")
        before = scene.cast.children[0].pid
        scene.cast.children[0].kill()
        await expect(page.locator("#notice")).to_contain_text("cannot be reached")
        await expect(page.locator("#connection")).to_have_text("✕ Offline")
        await expect(page.locator("main")).to_have_attribute("data-stale", "true")
        await picture(page, "offline")
        seen.set()
        await expect(page.locator("#connection")).to_have_text("● Live")
        await expect(page.locator("#notice")).to_have_count(0)
        await expect(page.locator("#ladder .unit")).to_contain_text("every change")
        first = page.locator("#trades tbody tr").first
        told = await first.text_content()
        await expect(first).not_to_have_text(told or "")

        async def again() -> bool:
            return scene.cast.children[0].pid != before

        await until(again)
