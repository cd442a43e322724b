"""The text of a robots.txt: what of it concerns us, and what that allows (RFC 9309 2.2).

Decides which group is ours, and keeps its rules alone; Protego ranks them. Must not know statuses, ages or how it was
fetched. Invariant: no bytes raise, or cost unbounded time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

from protego import Protego

MAX_TEXT = 500 * 1024  # RFC 9309 2.5: bytes that are parsed
MAX_WILDCARDS = 1000  # of one group; of 4,000 well-known sites none has more than 586
_HTML = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
# The names and misspellings that Protego takes. Any other record must not part a group (RFC 9309 2.2.4).
_LINE = re.compile(
    r"\s*(?:(?P<agent>user[- ]?agent)|(?P<Disallow>dis+al+ow|diasllow|disallaw)|(?P<Allow>allow)"
    r"|(?P<delay>crawl[- ]delay)|(?P<sitemap>site-?maps?)|(?P<other>request[- ]rate|visit[- ]time))"
    r"(?:\s*:|\s(?![^#]*:(?:\s|\Z))|\s*(?=#|\Z))",  # "user-agent must match: see the docs" is prose
    re.IGNORECASE,
)
_NAME = re.compile(r"[^\s/();,]+")
_OF_MOZILLA = re.compile(r"\s*Mozilla/.*?compatible;\s*([^\s/();,]+)", re.IGNORECASE | re.DOTALL)
_NOT_TOKEN = re.compile(r"[^A-Za-z_-]+")
_UNNAMED = re.compile(r"[0-9.*]+")  # what a product token may not hold, though names do


def product_token(user_agent: str) -> str:
    """The product token of a User-Agent (RFC 9309 2.2.1): its first product, or X of `Mozilla/5.0 (compatible; X/1)`.

    Only letters, '-' and '_' stay; "crawler" where nothing is left.
    """
    named = _OF_MOZILLA.match(user_agent)
    first = _NAME.search(user_agent)
    token = _NOT_TOKEN.sub("", named[1] if named else first[0] if first else "")
    return token if token.strip("-_") else "crawler"


def kept(body: bytes, token: str) -> str:
    """Of a robots.txt what concerns `token`: its group's rules and delay under "User-agent: *", and all sitemaps.

    Empty where nothing is asked of us. Groups of one name are merged; the longest name that begins the token wins
    (what Google and Protego do), then "*". Keeping one group also keeps Protego from a table of agents times rules.
    """
    token = token.lower()
    groups: dict[int, dict[str, None]] = {}  # by length of the name; "*" is 0
    delays: dict[int, str] = {}
    sitemaps: dict[str, None] = {}
    ours: set[int] = set()
    naming = False
    for line in _decoded(body).splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        field, value = found.lastgroup, line[found.end() :].partition("#")[0].strip()
        if field == "sitemap" and value:
            sitemaps[f"Sitemap: {value}"] = None
        elif field == "agent":
            ours = ours if naming else set()
            ours |= _rank(value, token)
            groups |= {rank: {} for rank in ours - groups.keys()}
        elif field == "delay" and _seconds(value) is not None:
            delays |= dict.fromkeys(ours, f"Crawl-delay: {value}")
        elif field in ("Allow", "Disallow") and value:
            for rank in ours:
                groups[rank][f"{field}: {value}"] = None
        naming = field == "agent" or (naming and field == "sitemap")
    best = max(groups, default=0)
    lines = [*_bounded(groups.get(best, ())), *filter(None, [delays.get(best)]), *sitemaps]
    return "\n".join(["User-agent: *", *lines]) if lines else ""


class Rules:
    """What a `kept` text says. `crawl_delay` is in seconds, at most `crawl_delay_max`, None where none is asked for;
    `sitemaps` stand as written, to be resolved. Building takes up to 0.2 s for the longest text.
    """

    __slots__ = ("_protego", "crawl_delay", "sitemaps")

    def __init__(self, text: str, crawl_delay_max: float) -> None:
        lines = text.splitlines()
        delay = next((_seconds(line[12:]) for line in lines if line.startswith("Crawl-delay:")), None)
        self.crawl_delay = None if delay is None else min(delay, crawl_delay_max)
        self.sitemaps = tuple(line[8:].strip() for line in lines if line.startswith("Sitemap:"))
        free = not any(line.startswith("Disallow:") for line in lines)
        self._protego: Protego | None = None if free else Protego.parse(text)

    def allows(self, href: str) -> bool:
        """Whether a canonical URL of this origin may be fetched; /robots.txt always may."""
        return self._protego is None or bool(self._protego.can_fetch(href, "*"))


def _decoded(body: bytes) -> str:
    """The first 500 KiB, up to a line end, as text; a page of HTML is none."""
    if len(body) > MAX_TEXT:
        whole = body[:MAX_TEXT]
        body = whole[: max(whole.rfind(b"\n"), whole.rfind(b"\r")) + 1]
    utf16 = body.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = body.decode("utf-16" if utf16 else "utf-8", "replace").replace("\0", "").lstrip("\ufeff")
    return "" if _HTML.match(text) else text


def _rank(value: str, token: str) -> set[int]:
    """How well the value of a user-agent line names `token` (lower case): {length of the name}, {0} for "*", {} no."""
    name = value.lower().partition("/")[0].strip()
    first = name.partition(" ")[0]
    if first and not first.strip("*"):
        return {0}
    bare = _UNNAMED.sub("", first)
    if bare == token:
        return {len(token)}
    # A name with digits must not be shortened into the beginning of ours: "a6-x" is not "a-x-bot".
    return {len(bare)} if bare and bare == name.replace("*", "") and token.startswith(bare) else set()


def _bounded(rules: Iterable[str]) -> list[str]:
    """The rules of a group: none if nothing is disallowed, and at most MAX_WILDCARDS that cost a search in each URL.

    Of a Disallow beyond that the part before the wildcard counts, stars keep the rank of the whole; an Allow is left
    out: so more is left alone than was asked.
    """
    lines: list[str] = []
    wild = 0
    for line in rules:
        head, star, tail = line.partition("*")
        wild += bool(star)
        if star and wild > MAX_WILDCARDS:
            if line.startswith("Allow:"):
                continue
            line = head + "*" * (1 + len(tail))
        lines.append(line)
    return lines if any(line.startswith("Disallow:") for line in lines) else []


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None
