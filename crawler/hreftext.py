"""The text of links as they are written in a page: cleaned, bounded, each once.

Decides what of a written link is kept. Must not know formats, base URLs or scope. Invariant: at most MAX_LINKS links of
at most MAX_HREF characters are kept of a page; none is empty, a mere fragment, or of a scheme that leads nowhere.
"""

from __future__ import annotations

import re

from crawler.links import Kind, Link

MAX_LINKS = 100_000  # of one page
MAX_HREF = 16 * 1024  # characters

_WHITE = " \t\n\r\f"
_DROPPED = re.compile("[\t\n\r]+")
_NOWHERE = re.compile(r"[\x00-\x20]*+(?:javascript|data|mailto|tel|sms|blob|about):", re.IGNORECASE)


def cleaned(text: str) -> str:
    """The link without what does not count in a URL (URL standard, 4.4): white space at its ends, tabs and line breaks
    within, and its fragment. "" where it leads nowhere, or is too long.
    """
    text, fragment, _ = text.strip(_WHITE).partition("#")
    if "\n" in text or "\t" in text or "\r" in text:
        text = _DROPPED.sub("", text)
    if fragment and text and text[-1] <= " ":
        text = f"{text[:-1]}%{ord(text[-1]):02X}"  # else it would be at the end now, where it is stripped
    if ":" in text and _NOWHERE.match(text):
        return ""
    return text if len(text) <= MAX_HREF else ""


class Gathered:
    """The links of one page, in their order: of those written alike the first, but it is nofollow only if all are.
    What a page needs to be shown is apart from where it leads.
    """

    __slots__ = ("_leading", "_needed", "full")

    def __init__(self) -> None:
        self._leading: dict[str, Link] = {}
        self._needed: dict[str, Link] = {}
        self.full = False  # there were more than MAX_LINKS

    def add(self, text: str, kind: Kind, nofollow: bool = False) -> None:
        """Keep a link, cleaned here."""
        href = cleaned(text)
        kept = self._needed if kind is Kind.REQUISITE else self._leading
        known = kept.get(href)
        if not href or (known is not None and (nofollow or not known.nofollow)):
            return
        if known is None and len(self._leading) + len(self._needed) >= MAX_LINKS:
            self.full = True
            return
        kept[href] = Link(href, kind, nofollow)

    @property
    def links(self) -> tuple[Link, ...]:
        """Where the page leads, then what it needs."""
        return (*self._leading.values(), *self._needed.values())

    @property
    def warning(self) -> str | None:
        """A sentence where not all were kept."""
        return f"has more than {MAX_LINKS:,} links; the further ones were left out" if self.full else None
