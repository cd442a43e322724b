"""What a page is, for who looks for links in it: HTML, a feed, a sitemap, a style sheet, JSON, or nothing of these.

Decides by its Content-Type, and by its first bytes where that says nothing or too little. Must not parse it. Invariant:
what is no text that leads anywhere is never looked into, whatever its size.
"""

from __future__ import annotations

import re
from enum import Enum

from crawler.charsets import media_type


class Format(Enum):
    """Who is to read it."""

    HTML = "html"
    FEED = "feed"
    SITEMAP = "sitemap"
    CSS = "css"
    JSON = "json"


_HTML = frozenset({"text/html", "application/xhtml+xml"})
_UNTOLD = frozenset({"", "text/plain", "application/octet-stream", "unknown/unknown", "binary/octet-stream"})
# The MIME Sniffing standard (7.1) takes these for HTML, behind white space.
_HTML_START = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|!--)"
    rb"[\s>]",
    re.IGNORECASE,
)


def format_of(content_type: str | None, start: bytes, url: str) -> Format | None:
    """The format of the body that begins so; None where nobody looks into it."""
    media = media_type(content_type)
    if media in _HTML:
        return Format.HTML
    if media == "text/css":
        return Format.CSS
    if media == "application/json" or media.endswith("+json"):
        return Format.JSON
    from crawler.sitemap import is_sitemap

    if is_sitemap(start[:4096], content_type, url):
        return Format.SITEMAP
    if media.endswith(("/xml", "+xml")) or (media in _UNTOLD and start.lstrip()[:5] == b"<?xml"):
        return Format.FEED
    if media in _UNTOLD and _HTML_START.match(start):
        return Format.HTML
    return None
