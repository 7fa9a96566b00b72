"""How the page looks: nothing overflows, axe finds nothing; pictures of each size and theme."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from flopex.demo.scenario import PAPER_INSTRUMENT
from tests.web.conftest import AXE, Open, picture
from tests.web.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="package")

SIZES = {"phone": (360, 780), "desk": (1_440, 900), "wall": (3_840, 2_160)}
VIEWS = {
    "market": ("Market", "#trades tbody tr"),
    "console": ("Console", "#ask form"),
    "jobs": ("Jobs", "#jobs"),
    "workers": ("Workers", "#workers tbody tr"),
    "account": ("Account", "#ledger"),
    "operator": ("Operator", "#accounts tbody tr"),
}


def address_of(view: str) -> str:
    """Where a view is; the market of the instrument that trades all the time."""
    return f"#/market/{PAPER_INSTRUMENT}" if view == "market" else f"#/{view}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_pictures(open_page: Open, scene: Scene, size: str, theme: str) -> None:
    async with open_page(key=scene.cast.operator_key, size=SIZES[size], theme=theme) as page:
        for view, (title, part) in VIEWS.items():
            await page.evaluate("address => { location.hash = address; }", address_of(view))
            await expect(page.locator("nav a[aria-current]")).to_have_text(title)
            await page.locator(part).first.wait_for()
            await picture(page, f"{view}-{size}-{theme}")
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= SIZES[size][0], f"{view} is {width} wide"


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: make browser")
@pytest.mark.parametrize(("size", "theme"), [("phone", "light"), ("desk", "dark")])
async def test_axe_finds_nothing(open_page: Open, scene: Scene, size: str, theme: str) -> None:
    async with open_page(
        key=scene.cast.operator_key,
        size=SIZES[size],
        theme=theme,
        bypass_csp=True,
        reduced_motion="reduce",  # what flashes as prices change is seen by chance, or not
    ) as page:
        await page.add_script_tag(path=AXE)
        found: dict[str, Any] = {}
        for view, (title, part) in VIEWS.items():
            await page.evaluate("address => { location.hash = address; }", address_of(view))
            await expect(page.locator("nav a[aria-current]")).to_have_text(title)
            await page.locator(part).first.wait_for()
            result = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            for broken in result["violations"]:
                nodes = [node["html"][:160] for node in broken["nodes"][:3]]
                found[f"{view}: {broken['id']}"] = nodes
        assert found == {}
