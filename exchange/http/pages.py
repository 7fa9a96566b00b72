"""The page's files: plain ES modules, style sheets and an icon, in memory and served as is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Final

from aiohttp import web

CONTENT_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
"""Nothing but this server's own files runs, and nothing in them is made into code."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file, ready to be sent.

    Attributes:
        content_type: With the character set, for text.
        etag: Strong validator: it changes with the content.
    """

    body: bytes
    content_type: str
    etag: str


def load() -> dict[str, PageFile]:
    """All files of the page by their path below the folder, such as "panels/ladder.js".

    A request is answered from this table alone, so that no path of it reaches a file.
    """
    return dict(_files(resources.files("exchange.http").joinpath("static"), ""))


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, PageFile]]:
    for entry in folder.iterdir():
        path = prefix + entry.name
        content_type = CONTENT_TYPES.get(PurePath(entry.name).suffix)
        if entry.is_dir():
            yield from _files(entry, f"{path}/")
        elif content_type is not None:
            yield path, page_file(entry.read_bytes(), content_type)


def page_file(body: bytes, content_type: str) -> PageFile:
    """A file of this content."""
    return PageFile(body, content_type, hashlib.sha256(body).hexdigest()[:32])


def respond(request: web.Request, file: PageFile) -> web.Response:
    """The file, or 304 where the browser has it."""
    headers = {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        # Asked for again at each visit: modules that import each other must be of one version.
        "Cache-Control": "no-cache",
        "ETag": f'"{file.etag}"',
    }
    known = request.if_none_match
    if known is not None and any(tag.value == file.etag for tag in known):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, headers=headers | {"Content-Type": file.content_type})
