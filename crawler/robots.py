"""robots.txt by RFC 9309: what an origin allows us, how long that stands, and what stands while nobody answers.

Decides by the text, the status and the age of an answer. Must not know how robots.txt is fetched, nor wait or look at
a clock: `now` is wall seconds. Invariant: memory is bounded; what an Entry keeps is our own group's rules alone, so an
Entry made for another product token counts as unknown.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Literal, NamedTuple

import orjson

from crawler.retry import retry_after
from crawler.robotstext import Rules, kept

MAX_AGE = 86400.0  # 2.4: seconds a copy is used while the server answers
MIN_AGE = 600.0  # a shorter max-age would have robots.txt asked for all the time
STALE = 86400.0  # seconds beyond its expiry that a copy is used while nobody answers
ASK_AGAIN = 900.0  # seconds after which an unreachable robots.txt is unknown again
UNDEFINED = 30 * 86400.0  # 2.3.1.4: after so long an unreachable robots.txt counts as none
_SLACK = 60.0  # seconds that a clock may be set back before what is known is asked for anew

_AGE_FIELD = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE | re.ASCII)
_NO_CACHE = re.compile(r"(?:^|[\s,])no-(?:cache|store)\b", re.IGNORECASE)

Kind = Literal["rules", "unavailable", "unreachable"]


class Verdict(Enum):
    """What is known of one URL. UNKNOWN: robots.txt has to be asked for first."""

    ALLOWED = "allowed"
    DISALLOWED = "disallowed"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


def origin_of(href: str) -> str:
    """Scheme, host and port, if not the default one, of a canonical URL: "https://example.org:8443"."""
    return href[: href.index("/", 8)]


def robots_url(origin: str) -> str:
    """Where the robots.txt of an origin stands."""
    return origin + "/robots.txt"


class Entry(NamedTuple):
    """What stands for one origin, as the checkpoint keeps it. Moments are wall seconds.

    `text` is what was `kept` for `token`; after `expires_at` it is asked for again; while nobody answers it may be used
    until `stale_until`. `unreachable_since`: the first of the failures in a row that end with the last attempt.
    """

    kind: Kind
    token: str
    text: str
    fetched_at: float
    expires_at: float
    stale_until: float
    unreachable_since: float | None = None

    def to_json(self) -> dict[str, str | float | None]:
        """Plain values by field name."""
        return self._asdict()

    @classmethod
    def from_json(cls, value: object) -> Entry | None:
        """The Entry that `to_json` made; None for anything else, so that what is damaged is asked for again."""
        match value:
            case {
                "kind": "rules" | "unavailable" | "unreachable" as kind,
                "token": str(token),
                "text": str(text),
                "fetched_at": int() | float() as fetched_at,
                "expires_at": int() | float() as expires_at,
                "stale_until": int() | float() as stale_until,
                "unreachable_since": int() | float() | None as since,
            }:
                return cls(kind, token, text, fetched_at, expires_at, stale_until, since)
        return None

    def dumps(self) -> str:
        """As the text that the checkpoint keeps."""
        return orjson.dumps(self.to_json()).decode()

    @classmethod
    def loads(cls, text: str) -> Entry | None:
        """The Entry of such a text; None where it is damaged."""
        try:
            return cls.from_json(orjson.loads(text))
        except orjson.JSONDecodeError:
            return None


class Answer(NamedTuple):
    """The end of one asking, after at most five redirects; a sixth is a 3xx that was not followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read(answer: Answer | None, token: str, now: float, ask_again: float = ASK_AGAIN) -> Entry:
    """What an answer says on its own (RFC 9309 2.3.1); None: no answer came, or not a whole one.

    2xx holds rules; 3xx and 4xx mean that there are none, but 429, 5xx and unknown statuses that nothing is known.
    """
    if answer is None or answer.status == 429 or not 200 <= answer.status < 500:
        return Entry("unreachable", token, "", now, now + ask_again, now, now)
    expires_at = now + _lifetime(answer.headers, now)
    if answer.status < 300:
        return Entry("rules", token, kept(answer.body, token), now, expires_at, expires_at + STALE)
    return Entry("unavailable", token, "", now, expires_at, expires_at)


def renew(old: Entry | None, answer: Answer | None, token: str, now: float, ask_again: float = ASK_AGAIN) -> Entry:
    """What stands after an attempt. While nobody answers: the old rules for a day beyond their expiry, then nothing is
    allowed, and after 30 days everything is (RFC 9309 2.3.1.4). It is asked for again `ask_again` seconds later.
    """
    new = read(answer, token, now, ask_again)
    if old is None or new.kind != "unreachable":
        return new
    since = now if old.unreachable_since is None else min(now, old.unreachable_since)
    if now - since >= UNDEFINED:
        return Entry("unavailable", token, "", now, now + MAX_AGE, now, since)
    if old.kind == "rules" and old.token == token and now < old.stale_until <= now + MAX_AGE + STALE + _SLACK:
        until = max(old.expires_at, min(new.expires_at, old.stale_until))
        return old._replace(expires_at=until, unreachable_since=since)
    return new._replace(unreachable_since=since)


class RobotsCache:
    """What is known of all origins. Beyond `max_entries` the one put longest ago is forgotten (it is next to expire);
    parsed rules are made when first needed and kept for the `max_rules` origins used last.
    """

    def __init__(
        self, token: str, crawl_delay_max: float, *, max_entries: int = 100_000, max_rules: int = 10_000
    ) -> None:
        self.token = token
        self._crawl_delay_max = crawl_delay_max
        self._max_entries = max_entries
        self._max_rules = max_rules
        self._entries: dict[str, Entry] = {}
        self._rules: OrderedDict[str, Rules] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RobotsCache {self.token} entries={len(self._entries)} parsed={len(self._rules)}>"

    def look(self, href: str, now: float) -> Verdict:
        """What is known of a canonical URL."""
        origin = origin_of(href)
        entry = self._entries.get(origin)
        if entry is None or not 0.0 < entry.expires_at - now <= MAX_AGE + _SLACK:
            return Verdict.UNKNOWN
        if entry.kind == "unreachable":
            return Verdict.UNREACHABLE
        if not entry.text or self._parsed(origin, entry).allows(href):
            return Verdict.ALLOWED
        return Verdict.DISALLOWED

    def put(self, origin: str, entry: Entry, rules: Rules | None = None) -> None:
        """From now on `entry` stands, unless it was made for another token. `rules`: its text, parsed elsewhere."""
        self._entries.pop(origin, None)
        self._rules.pop(origin, None)
        if entry.token != self.token:
            return
        self._entries[origin] = entry
        if rules is not None:
            self._keep(origin, rules)
        if len(self._entries) > self._max_entries:
            oldest = next(iter(self._entries))
            del self._entries[oldest]
            self._rules.pop(oldest, None)

    def entry(self, origin: str) -> Entry | None:
        """What stands for an origin, expired or not; None where it was never known or is forgotten."""
        return self._entries.get(origin)

    def crawl_delay(self, origin: str) -> float | None:
        """Seconds between requests that the origin asks for, bounded; None where it does not."""
        entry = self._entries.get(origin)
        return self._parsed(origin, entry).crawl_delay if entry and entry.text else None

    def sitemaps(self, origin: str) -> tuple[str, ...]:
        """The sitemaps that the origin names, as written."""
        entry = self._entries.get(origin)
        return self._parsed(origin, entry).sitemaps if entry and entry.text else ()

    def parsed(self, entry: Entry) -> Rules:
        """The rules of an entry; large ones take up to 0.2 s."""
        return Rules(entry.text, self._crawl_delay_max)

    def _parsed(self, origin: str, entry: Entry) -> Rules:
        rules = self._rules.get(origin)
        if rules is None:
            rules = self.parsed(entry)
            self._keep(origin, rules)
        else:
            self._rules.move_to_end(origin)
        return rules

    def _keep(self, origin: str, rules: Rules) -> None:
        self._rules[origin] = rules
        if len(self._rules) > self._max_rules:
            self._rules.popitem(last=False)


def _lifetime(headers: Mapping[str, str], now: float) -> float:
    """Seconds that an answer may be used: at most a day, less if Cache-Control or Expires say so, at least 10 min."""
    control = ", ".join(_values(headers, "cache-control"))
    asked = MAX_AGE
    if _NO_CACHE.search(control):
        asked = 0.0
    elif found := _AGE_FIELD.search(control):
        asked = float(found[1])
    elif expires := _values(headers, "expires"):
        date = next(iter(_values(headers, "date")), None)
        asked = retry_after(expires[0], date, now) or 0.0  # what is no date has expired (RFC 9111 5.3)
    return min(max(asked, MIN_AGE), MAX_AGE)


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    """All values of a header; names compare without case, and in a multidict one may stand more than once."""
    return [value for key, value in headers.items() if key.lower() == name]
