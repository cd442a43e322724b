"""Where a feed leads: the entries of RSS 2.0, RSS 1.0 and Atom, their enclosures, and the feed's next page.

Decides which elements are links. Must not know URLs beyond xml:base, or what is followed. Invariant: XML that is no
feed leads nowhere; of a broken feed all that came before the damage counts, and nothing raises.
"""

from __future__ import annotations

from urllib.parse import urljoin

from crawler.charsets import decode
from crawler.hreftext import MAX_HREF, Gathered, cleaned
from crawler.links import NOTHING, Kind, Leads
from crawler.xmltext import Refused, XmlReader

LARGEST = 32 * 1024**2  # bytes of a feed that are looked at

_ROOTS = frozenset({"rss", "feed", "RDF"})
_ENTRIES = frozenset({"item", "entry"})
_PAGES = frozenset({"next", "prev-archive"})  # RFC 5005, 3 and 4
_PIECE = 64 * 1024


def feed_leads(data: bytes, charset: str | None) -> Leads:
    """The links of a feed; `charset` as `charset_of` tells it."""
    feed = _Feed()
    reader = XmlReader(feed, "utf-8")
    text = decode(data[:LARGEST], charset).lstrip().encode("utf-8", "replace")
    whole = len(data) <= LARGEST
    for at in range(0, len(text), _PIECE):
        reader.feed(text[at : at + _PIECE])
        if feed.gathered.full or reader.fault is not None:
            break
    else:
        reader.feed(b"", last=whole)
    if not feed.known:
        return NOTHING
    fault = f"the feed {reader.fault}; its links up to there count" if reader.fault is not None else None
    cut = None if whole else f"the feed was read for links up to {LARGEST:,} bytes"
    return Leads(feed.gathered.links, feed.bases[0] or None, warning=fault or feed.gathered.warning or cut)


class _Feed:
    """What is known of a feed so far. `bases` has that of the root first, then what each open element adds to it."""

    __slots__ = ("_depth", "_entry", "_guid", "_linked", "bases", "gathered", "known")

    def __init__(self) -> None:
        self.known = False
        self.gathered = Gathered()
        self.bases: list[str] = [""]
        self._depth = 0
        self._entry = 0  # the depth of the entry, 0 outside one
        self._linked = False  # the entry has a link
        self._guid = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        base = attributes.get("xml:base", "").strip()[:MAX_HREF]
        if self._depth == 1:
            if name not in _ROOTS:
                raise Refused("is no feed")
            self.known = True
            self.bases[0] = base
            base = ""
        self.bases.append(_joined(self.bases[-1] if self._depth > 1 else "", base))
        if name in _ENTRIES:
            self._entry, self._linked, self._guid = self._depth, False, ""
        elif name == "link" and "href" in attributes:
            self._link(attributes["href"], attributes.get("rel", "alternate").strip().lower())
        elif name == "enclosure" and self._entry:
            self._add(attributes.get("url", ""), Kind.REQUISITE)
        elif name == "guid" and attributes.get("isPermaLink", "true").strip().lower() == "true":
            self._guid = "?"

    def end(self, name: str, text: str) -> None:
        if self._depth == self._entry:
            if not self._linked and self._guid.startswith(("http:", "https:")):
                self._add(self._guid, Kind.FEED)
            self._entry = 0
        elif self._entry and self._depth == self._entry + 1:
            if name == "link" and text.strip():
                self._linked = True
                self._add(text, Kind.FEED)
            elif name == "guid" and self._guid == "?":
                self._guid = text.strip()
        self.bases.pop()
        self._depth -= 1

    def _link(self, href: str, relation: str) -> None:
        """A link of Atom, which RSS may have as well (RFC 4287, 4.2.7)."""
        if self._entry and relation in ("alternate", ""):
            self._linked = True
            self._add(href, Kind.FEED)
        elif self._entry and relation == "enclosure":
            self._add(href, Kind.REQUISITE)
        elif not self._entry and relation in _PAGES:
            self._add(href, Kind.FEED)

    def _add(self, href: str, kind: Kind) -> None:
        base = self.bases[-1] if self._depth else ""
        self.gathered.add(_joined(base, cleaned(href)), kind)


def _joined(base: str, href: str) -> str:
    """`href` in sight of what inner elements say of the base; what cannot be joined stays as it is written."""
    if not base or not href:
        return href or base
    try:
        return urljoin(base, href)
    except ValueError:
        return href
