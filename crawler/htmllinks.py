"""Where an HTML page leads, and what it needs to be shown.

Decides which tags are links, and of which kind. Must not know URLs, scope, or what is followed in the end. The tags are
read without a tree: a page costs a third of its parsing. Invariant: nothing that a page holds raises, or costs more
than its length; a Leads names what stands in the page, in its order, what it needs behind where it leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from crawler.charsets import decode
from crawler.csslinks import css_urls
from crawler.hreftext import MAX_HREF, Gathered
from crawler.htmltags import LARGEST, attributes, bare, linking_tags, named_tags, resolved
from crawler.links import Kind, Leads
from crawler.nofollow import meta_nofollow
from crawler.refresh import target
from crawler.srcset import urls

_LEADING = frozenset({"canonical", "next", "prev", "previous", "alternate"})
_NEEDED = frozenset({"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest", "apple-touch-icon"}) | {
    "apple-touch-icon-precomposed",
    "mask-icon",
}
# Where a tag names what it needs.
_SOURCES: dict[bytes, tuple[bytes, ...]] = {
    b"audio": (b"src",),
    b"body": (b"background",),
    b"embed": (b"src",),
    b"image": (b"href", b"xlink:href"),
    b"img": (b"src",),
    b"input": (b"src",),
    b"object": (b"data",),
    b"script": (b"src", b"href", b"xlink:href"),
    b"source": (b"src",),
    b"track": (b"src",),
    b"use": (b"href", b"xlink:href"),
    b"video": (b"src", b"poster"),
}
_NAMES = frozenset(name.decode() for name in _SOURCES) | {"link"}
_SETS = {b"img": b"srcset", b"source": b"srcset", b"link": b"imagesrcset"}
_SHORT = 500  # bytes of what is kept from page to page
_WIDE = ("utf-16le", "utf-16be", "iso-2022-jp")  # their ASCII is not, so they are read as UTF-8


def html_leads(data: bytes, charset: str | None, follow: frozenset[Kind], token: str) -> Leads:
    """Where a page leads by tags of the kinds in `follow`; `charset` as `charset_of` tells it, None where nothing does:
    then it is UTF-8, and what is not is windows-1252. `token` is our name in `<meta name=robots>`.
    """
    if charset in _WIDE:
        data, charset = decode(data[:LARGEST], charset).encode("utf-8", "replace"), "utf-8"
    reading = _Reading(charset, follow, token)
    _read_linking(data, reading)
    if Kind.REQUISITE in follow:
        _read_needed(data, reading)
    cut = f"was read for links up to {LARGEST:,} bytes" if len(data) > LARGEST else None
    gathered = reading.gathered
    return Leads(gathered.links, reading.base, reading.nofollow, gathered.warning or cut)


def _read_linking(page: bytes, reading: _Reading) -> None:
    seen = {b"", b'"', b'"#', b"''"}  # as written; most links of a page stand there more than once
    wanted = Kind.A in reading.follow
    for found in linking_tags(page):
        _, double, other, name, rest = found.groups()
        href = double or other
        if href:
            if href in seen or not wanted:
                continue
            anchor = page[found.start(1) : found.end()]
            if b"nofollow" in anchor.lower():
                reading.anchor(attributes(anchor[1:]))
            else:
                seen.add(href)
                reading.gathered.add(reading.text(bare(href)), Kind.A)
        elif name:
            reading.tag(name.lower(), _told(rest) if len(rest) <= _SHORT else attributes(rest))
        if reading.gathered.full:
            return


def _read_needed(page: bytes, reading: _Reading) -> None:
    """What <link> does not name."""
    lower = page.lower()
    styled = b"url(" in lower or b"image-set(" in lower  # then any tag may name an image
    del lower
    for found in named_tags(page, None if styled else _NAMES):
        name, rest = found.group("name", "rest")
        if name:
            name = name.lower()
            if name in _SOURCES or name == b"link":
                reading.needed(name, attributes(rest))
            if styled and b"(" in rest and b"style" in rest.lower():
                reading.style(attributes(rest).get(b"style", b""))
            if found["text"]:
                reading.style(found["text"])
            if reading.gathered.full:
                return


class _Reading:
    """What is known of a page so far."""

    __slots__ = ("base", "charset", "follow", "gathered", "nofollow", "token")

    def __init__(self, charset: str | None, follow: frozenset[Kind], token: str) -> None:
        self.charset = charset
        self.follow = follow
        self.token = token
        self.gathered = Gathered()
        self.base: str | None = None
        self.nofollow = False

    def text(self, value: bytes) -> str:
        """A value of an attribute."""
        try:
            text = value.decode() if self.charset in (None, "utf-8") else decode(value, self.charset)
        except UnicodeDecodeError:
            text = decode(value, self.charset or "windows-1252")
        return resolved(text.replace("\0", "\ufffd"))

    def add(self, value: bytes | None, kind: Kind, nofollow: bool = False) -> None:
        if value and kind in self.follow and len(value) <= 6 * MAX_HREF:
            self.gathered.add(self.text(value), kind, nofollow)

    def anchor(self, said: Mapping[bytes, bytes]) -> None:
        """An <a>."""
        self.add(said.get(b"href"), Kind.A, b"nofollow" in _words(said))

    def tag(self, name: bytes, said: Mapping[bytes, bytes]) -> None:
        """Any tag that leads to other pages, or says how."""
        if read := _TAGS.get(name):
            read(self, said)

    def area(self, said: Mapping[bytes, bytes]) -> None:
        self.add(said.get(b"href"), Kind.AREA, b"nofollow" in _words(said))

    def frame(self, said: Mapping[bytes, bytes]) -> None:
        self.add(said.get(b"src"), Kind.IFRAME)

    def link(self, said: Mapping[bytes, bytes]) -> None:
        words = {word.decode("latin-1") for word in _words(said)}
        if not words.isdisjoint(_NEEDED):
            self.add(said.get(b"href"), Kind.REQUISITE)
        elif not words.isdisjoint(_LEADING):
            self.add(said.get(b"href"), Kind.LINK, "nofollow" in words)

    def set_base(self, said: Mapping[bytes, bytes]) -> None:
        if self.base is None and b"href" in said and len(said[b"href"]) <= MAX_HREF:
            self.base = self.text(said[b"href"]).strip(" \t\n\r\f")

    def meta(self, said: Mapping[bytes, bytes]) -> None:
        content = self.text(said.get(b"content", b"")[: 6 * MAX_HREF])
        if said.get(b"http-equiv", b"").strip().lower() == b"refresh":
            leads_to = target(content)
            if leads_to is not None and Kind.REFRESH in self.follow:
                self.gathered.add(leads_to, Kind.REFRESH)
        if b"name" in said and meta_nofollow(self.text(said[b"name"]), content, self.token):
            self.nofollow = True

    def needed(self, name: bytes, said: Mapping[bytes, bytes]) -> None:
        """What a tag is shown with."""
        if name == b"input" and said.get(b"type", b"").strip().lower() != b"image":
            return
        for source in _SOURCES.get(name, ()):
            self.add(said.get(source), Kind.REQUISITE)
        if several := said.get(_SETS.get(name, b"")):
            for url in urls(self.text(several)):
                self.gathered.add(url, Kind.REQUISITE)

    def style(self, css: bytes) -> None:
        for url in css_urls(self.text(css)):
            self.gathered.add(url, Kind.REQUISITE)


# The pages of a site have most of their head in common.
_told = lru_cache(1024)(attributes)  # shared, so nobody changes one


def _words(said: Mapping[bytes, bytes]) -> list[bytes]:
    return said.get(b"rel", b"").lower().split()


_TAGS: dict[bytes, Callable[[_Reading, Mapping[bytes, bytes]], None]] = {
    b"a": _Reading.anchor,
    b"area": _Reading.area,
    b"base": _Reading.set_base,
    b"frame": _Reading.frame,
    b"iframe": _Reading.frame,
    b"link": _Reading.link,
    b"meta": _Reading.meta,
}
