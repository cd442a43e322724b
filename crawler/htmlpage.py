"""An HTML page as a tree, whatever charset it is in and however it is broken.

Decides which charset its bytes are read in, and what of a page is parsed at all. Must not know links, fields or where
the page came from. Invariant: nothing that a page holds raises; its tree is as a browser without scripts would build
it, up to where that would cost more than a second or some hundred megabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.charsets import decode
from crawler.htmltags import LARGEST
from crawler.treecost import affordable

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser


class HtmlPage:
    """A page that was parsed: its `tree`, and a `warning` (a sentence) where not all of it was."""

    __slots__ = ("tree", "warning")

    def __init__(self, tree: LexborHTMLParser, warning: str | None = None) -> None:
        self.tree = tree
        self.warning = warning


def parse(data: bytes, charset: str | None) -> HtmlPage:
    """The page of these bytes; `charset` as `charset_of` tells it, None where nothing says it. Another thread can run
    meanwhile.
    """
    from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser

    page = as_utf8(data[:LARGEST], charset)
    end = affordable(page)
    cut = None
    if end < len(page):
        cut = f"has elements nested so that only its first {end:,} bytes were parsed"
    elif len(data) > LARGEST:
        cut = f"was parsed up to {LARGEST:,} bytes"
    # Without events the tree is built in three quarters of the time; they serve <selectedcontent> alone.
    return HtmlPage(LexborHTMLParser(page[:end], options=LexborDocumentOptions.WO_EVENTS), cut)


def as_utf8(data: bytes, charset: str | None) -> bytes:
    """The page in UTF-8; where nothing says what it is in and it is not UTF-8, it is windows-1252."""
    if charset not in (None, "utf-8"):
        return decode(data, charset).encode("utf-8", "replace")
    try:
        data.decode()
    except UnicodeDecodeError:
        return decode(data, charset or "windows-1252").encode()
    return data.removeprefix(b"\xef\xbb\xbf")
