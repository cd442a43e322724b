"""Where the head of an answer leads: Link, Refresh, and X-Robots-Tag.

Decides which of its links are followed as a page's own are. Must not know bodies or URLs. Invariant: nothing that a
server sends raises; at most MAX_LINKS are told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crawler.hreftext import Gathered
from crawler.linkheader import links
from crawler.links import Kind, Leads
from crawler.nofollow import nofollow
from crawler.refresh import target

_LEADING = frozenset({"canonical", "next", "prev", "previous", "alternate"})


def header_leads(link_lines: Sequence[str], refresh: str | None, x_robots: Mapping[str, str], token: str) -> Leads:
    """What the values of Link headers and a Refresh header lead to. Of `x_robots`, a mapping of headers, X-Robots-Tag
    alone is read; `token` is our name there.
    """
    gathered = Gathered()
    for link in links(link_lines):
        if not link.anchored and not link.relations.isdisjoint(_LEADING):
            gathered.add(link.target, Kind.HEADER, "nofollow" in link.relations)
    if refresh is not None and (leads_to := target(refresh)) is not None:
        gathered.add(leads_to, Kind.REFRESH)
    return Leads(gathered.links, nofollow=nofollow(x_robots, token), warning=gathered.warning)
