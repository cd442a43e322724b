"""What a page leads to: links as they are written, before anybody joined, judged or followed them.

Decides nothing. Must not know URLs' canonical form, scope, or how pages are parsed. Invariant: a Leads is built by one
reader of a format and read by the crawl alone; of links that are written alike only the first is named.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Where a link stands. The values are those of `crawl.follow`; the last two are what a page needs to be shown."""

    A = "a"
    AREA = "area"
    LINK = "link"  # <link rel=canonical, next, prev, alternate>
    IFRAME = "iframe"  # and frame
    REFRESH = "refresh"  # <meta http-equiv=refresh>, and the header of that name
    HEADER = "header"  # Link headers: canonical, next, prev, alternate
    FEED = "feed"  # entries of RSS and Atom
    SITEMAP = "sitemap"  # <loc> of a sitemap or an index of them
    DATA = "data"  # what `crawl.json` finds in JSON
    REQUISITE = "requisite"  # images, scripts, style sheets, icons, fonts, media


class Link(NamedTuple):
    """One link: `href` as written, without surrounding white space, not yet joined to a base.

    `nofollow`: rel=nofollow stands at it. `priority` is a sitemap's (0 to 1), `modified` its lastmod as written;
    `is_index`: it leads to a further sitemap.
    """

    href: str
    kind: Kind
    nofollow: bool = False
    priority: float | None = None
    modified: str | None = None
    is_index: bool = False


class Leads(NamedTuple):
    """All that a page leads to, in the order in which it stands there.

    `base` is what <base href> says, as written; `nofollow`: the page asks that none of its links be followed;
    `warning` is a sentence where not all of it was read.
    """

    links: tuple[Link, ...] = ()
    base: str | None = None
    nofollow: bool = False
    warning: str | None = None


NOTHING = Leads()
