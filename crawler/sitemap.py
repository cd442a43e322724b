"""Sitemaps (sitemaps.org): lists of URLs and indexes of them, as XML or as lines of text, perhaps gzipped.

Decides what is a sitemap, and which links stand in it, as its bytes come in pieces. Must not know where the bytes are
from, nor which links are followed. Invariant: a sitemap of any length takes constant memory; nothing raises: what is
broken or too large is read up to there, and the warning says so.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from crawler.charsets import media_type
from crawler.hreftext import MAX_HREF, cleaned
from crawler.links import Kind, Link
from crawler.units import render_size
from crawler.xmltext import XmlReader

LARGEST = 1024**3  # bytes, unpacked; the standard allows 50 MB
MAX_RATIO = 200  # of unpacked to packed bytes, beyond _FREE; URLs come to 10 to 50

_FREE = 16 * 1024**2
_STEP = 256 * 1024  # bytes unpacked in one go
_GZIP = b"\x1f\x8b"
_ROOT = re.compile(
    rb"""(?: [ \t\r\n]++ | <\?(?:[^?]++|\?(?!>))*+\?> | <!--(?:[^-]++|-(?!->))*+--> | <!DOCTYPE[^>\[]*+> )*+
    <(?:[\w.-]+:)?(?:urlset|sitemapindex)[\s/>]""",
    re.VERBOSE,
)
_LINE = re.compile(rb"https?://[^\s<>\"]+[ \t]*(?:[\r\n]|\Z)", re.IGNORECASE)
_TEXT_NAME = re.compile(r"sitemap[^/?#]*\.txt(?:\.gz)?(?:[?#]|\Z)", re.IGNORECASE)


def is_sitemap(start: bytes, content_type: str | None, url: str) -> bool:
    """Is what begins so a sitemap: by its root element; of text by its name and its first line."""
    if start.startswith(_GZIP):
        try:
            start = zlib.decompressobj(31).decompress(start, 4096)
        except zlib.error:
            return False
    start = start.removeprefix(b"\xef\xbb\xbf")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.replace(b"\0", b"")[2:]
    if _ROOT.match(start):
        return True
    media = media_type(content_type)
    plain = media in ("", "text/plain", "application/octet-stream", "application/gzip", "application/x-gzip")
    return plain and _TEXT_NAME.search(url) is not None and _LINE.match(start.lstrip()) is not None


class SitemapReader:
    """Reads one sitemap as its pieces come; `warning` is a sentence where not all of it was read."""

    def __init__(self) -> None:
        self.warning: str | None = None
        self._start = b""  # too little yet to tell gzip
        self._head = b""  # nor XML from text
        self._gzip: zlib._Decompress | None = None
        self._text: _Lines | _Elements | None = None
        self._packed = 0
        self._size = 0

    def feed(self, piece: bytes) -> list[Link]:
        """The links that this piece ends."""
        if self._text is None and self._gzip is None:
            self._start += piece
            if len(self._start) < 2:
                return []
            piece, self._start = self._start, b""
            if piece.startswith(_GZIP):
                self._gzip = zlib.decompressobj(31)
        return self._unpacked(piece) if self._gzip is not None else self._read(piece)

    def finish(self) -> list[Link]:
        """The links that the end of the sitemap ends."""
        found = self._read(self._start) + self._read(b"", last=True)
        if self._text is not None:
            found += self._text.finish(whole=self.warning is None)
        if self._gzip is not None and not self._gzip.eof:
            self._warn("is cut off: its gzip has no end")
        self._note_fault()
        return found

    def _unpacked(self, piece: bytes) -> list[Link]:
        found: list[Link] = []
        self._packed += len(piece)
        while piece and self.warning is None and self._gzip is not None:
            if self._gzip.eof:
                if not piece.startswith(b"\x1f"):  # padding, as tar has it
                    break
                self._gzip = zlib.decompressobj(31)  # a further member (RFC 1952, 2.2)
            try:
                data = self._gzip.decompress(piece, _STEP)
            except zlib.error:
                self._warn("is damaged: it cannot be unpacked")
                break
            piece = self._gzip.unconsumed_tail or self._gzip.unused_data
            found += self._read(data)
            if self._size > max(_FREE, MAX_RATIO * self._packed):
                self._warn(f"unpacks to more than {MAX_RATIO} times its size, and was not read on")
        return found

    def _read(self, data: bytes, last: bool = False) -> list[Link]:
        if self.warning is not None:
            return []
        if self._text is None:
            self._head = (self._head + data).removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
            if len(self._head) < 4 and not (last and self._head):
                return []
            data, self._head = self._head, b""
            self._text = _Elements() if data[:1] in (b"<", b"\xff", b"\xfe", b"\0") else _Lines()
        self._size += len(data)
        found = self._text.feed(data)
        if self._size > LARGEST:
            self._warn(f"is larger than {render_size(LARGEST)}, and was not read on")
        self._note_fault()
        return found

    def _note_fault(self) -> None:
        if self._text is not None and self._text.fault is not None:
            self._warn(self._text.fault)

    def _warn(self, fault: str) -> None:
        if self.warning is None:
            self.warning = f"the sitemap {fault}; its links up to there count"


class _Elements:
    """A sitemap in XML. Only a <loc> directly within <url> or <sitemap> counts: images and videos have their own."""

    def __init__(self) -> None:
        self._reader = XmlReader(self, None)
        self._path: list[str] = []
        self._said: dict[str, str] = {}
        self._found: list[Link] = []

    @property
    def fault(self) -> str | None:
        return self._reader.fault

    def feed(self, data: bytes) -> list[Link]:
        self._reader.feed(data)
        found, self._found = self._found, []
        return found

    def finish(self, whole: bool) -> list[Link]:
        if whole:
            self._reader.feed(b"", last=True)
        found, self._found = self._found, []
        return found

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if name in ("url", "sitemap"):
            self._said = {}

    def end(self, name: str, text: str) -> None:
        self._path.pop()
        above = self._path[-1] if self._path else ""
        if above in ("url", "sitemap"):
            if name in ("loc", "lastmod", "priority"):
                self._said.setdefault(name, text.strip())
        elif name in ("url", "sitemap"):
            href = cleaned(self._said.get("loc", ""))
            if href:
                priority = _priority(self._said.get("priority", ""))
                modified = self._said.get("lastmod", "")[:100] or None
                self._found.append(Link(href, Kind.SITEMAP, False, priority, modified, name == "sitemap"))


class _Lines:
    """A sitemap of lines; what is no http(s) URL is passed over."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self._rest = b""
        self._overlong = False

    def feed(self, data: bytes) -> list[Link]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._overlong and lines:
            del lines[0]
            self._overlong = False
        if len(self._rest) > 4 * MAX_HREF:
            self._rest, self._overlong = b"", True
        return list(_links(lines))

    def finish(self, whole: bool) -> list[Link]:
        return [] if self._overlong else list(_links([self._rest]))


def _links(lines: list[bytes]) -> Iterator[Link]:
    for line in lines:
        text = line.strip()
        if text[:8].lower().startswith((b"http://", b"https://")) and (
            href := cleaned(text.decode("utf-8", "replace"))
        ):
            yield Link(href, Kind.SITEMAP)


def _priority(text: str) -> float | None:
    """0 to 1; None where it is no such number."""
    try:
        value = float(text[:20])
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
