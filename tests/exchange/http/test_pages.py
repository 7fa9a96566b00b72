"""The page's files: what is served, under which policy, and that they hang together."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.http import pages
from exchange.http.addresses import split_address
from tests.exchange.http.site import Site, open_site
from tests.waiting import WITHIN_S

STATIC = Path(pages.__file__).with_name("static")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


def page_files(suffix: str = "") -> list[Path]:
    return sorted(path for path in STATIC.rglob(f"*{suffix}") if path.is_file())


async def test_every_file_of_the_page_is_served_with_its_type_and_policy(site: Site) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    types[".html"] = "text/html"
    files = [path for path in page_files() if path.suffix in types]
    assert len(files) > 30
    for path in files:
        address = f"/static/{path.relative_to(STATIC)}"
        async with site.http.get(address) as response:
            assert response.status == 200
            assert await response.read() == path.read_bytes()
            assert response.content_type == types[path.suffix]
            if path.suffix != ".svg":
                assert response.charset == "utf-8"
            assert response.headers["Content-Security-Policy"] == pages.CONTENT_SECURITY_POLICY
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            etag = response.headers["ETag"]
        async with site.http.get(address, headers={"If-None-Match": etag}) as response:
            assert (response.status, await response.read()) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "..%2fpages.py",
        "panels/..%2f..%2fpages.py",
        "panels",
        "panels/",
        "vendor/README.md",
        "/etc/passwd",
        "%2e%2e/app.py",
        "panels//ladder.js",
    ],
)
async def test_nothing_but_the_page_is_served(site: Site, path: str) -> None:
    host, port = split_address(site.exchange.http_address)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /static/{path} HTTP/1.0\r\n\r\n".encode())
    assert (await asyncio.wait_for(reader.read(), WITHIN_S)).startswith(b"HTTP/1.0 404")
    writer.close()


async def test_the_front_page_loads_only_files_that_are_there(site: Site) -> None:
    async with site.http.get("/") as response:
        assert response.content_type == "text/html"
        assert response.headers["Content-Security-Policy"] == pages.CONTENT_SECURITY_POLICY
        page = await response.text()
    names = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(names) >= 3
    for name in names:
        await site.text(name)


def test_the_policy_allows_nothing_inline() -> None:
    directives = dict(d.split(" ", 1) for d in pages.CONTENT_SECURITY_POLICY.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert "unsafe" not in pages.CONTENT_SECURITY_POLICY


LINKED = "https://www.tradingview.com/"
"""The licence of the chart's library asks for this link."""


def test_the_page_keeps_to_the_policy() -> None:
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", page) == []
    for path in page_files():
        if path.is_relative_to(STATIC / "vendor"):
            continue  # the browser's tests watch for what it refuses
        text = path.read_text()
        if path.suffix == ".js":
            banned = r"(inner|outer)HTML|insertAdjacentHTML|eval\(|new Function|dangerously"
            assert re.findall(banned, text) == [], path.name
            assert 'style="' not in text, f"{path.name} sets a style attribute, which is refused"
        # Everything comes from the exchange itself; the name of SVG's vocabulary is no address.
        text = text.replace("http://www.w3.org/2000/svg", "").replace(LINKED, "")
        assert re.findall(r"https?://", text) == [], path.name


def test_modules_import_only_what_exists_and_exports_it() -> None:
    pattern = re.compile(r'^import \{([^}]+)\} from "(\.[\w./-]+)";', re.MULTILINE)
    found = 0
    for path in page_files(".js"):
        if path.is_relative_to(STATIC / "vendor"):
            continue
        text = path.read_text()
        assert len(pattern.findall(text)) == len(re.findall(r"^import ", text, re.MULTILINE))
        for names, source in pattern.findall(text):
            target = (path.parent / source).resolve().read_text()
            for name in re.findall(r"\w+", names):
                found += 1
                ours = rf"^export (?:async )?(?:const|class|function) {name}\b"
                theirs = rf"export\{{[^}}]*\bas {name}\b"
                assert re.search(ours, target, re.M) or re.search(theirs, target), name
                used = text.replace(f"import {{{names}}}", "")
                assert re.search(rf"\b{name}\b", used), f"{path.name} does not use {name}"
    assert found > 100


def test_every_module_of_the_page_is_loaded() -> None:
    page = (STATIC / "index.html").read_text()
    loaded = {STATIC / "index.html"}
    loaded |= {(STATIC / name).resolve() for name in re.findall(r'"/static/([^"]+)"', page)}
    rest = list(loaded)
    while rest:
        path = rest.pop()
        if path.suffix == ".js" and path.parent.name != "vendor":
            for source in re.findall(r'^import .* from "(.+)";', path.read_text(), re.MULTILINE):
                module = (path.parent / source).resolve()
                if module not in loaded:
                    loaded.add(module)
                    rest.append(module)
    about = {".md", ".LICENSE"}
    assert [p for p in page_files() if p.suffix not in about and p not in loaded] == []


def test_modules_of_the_page_fit_in_the_head() -> None:
    for path in page_files():
        if not path.is_relative_to(STATIC / "vendor"):
            assert len(path.read_text().splitlines()) <= 500, path.name


def test_vendored_files_are_what_their_table_says() -> None:
    table = (STATIC / "vendor" / "README.md").read_text()
    stated = dict(re.findall(r"^\| `([\w.-]+)` .* `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    files = page_files(".js")
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.parent.name == "vendor"
    }
    assert found == stated
    assert len(found) == 2
