"""May this request be sent now: not to a host that was given up, and only where robots.txt allows it.

Decides by what is known of the host and of its robots.txt, and what an answer to a robots.txt request teaches. Must
not know queues, the wire or the checkpoint; `wall` is wall seconds, given. Invariant: nothing but robots.txt itself is
sent to an origin that must be obeyed and whose robots.txt is not known (RFC 9309 2.3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from crawler.errors import POLICY, Reason
from crawler.hosts import HostRules
from crawler.model import Failed, Fetched, Outcome, Request, Skipped
from crawler.redirect import Hop, follow
from crawler.robots import Answer, Entry, RobotsCache, Verdict, origin_of, renew, robots_url
from crawler.robotstext import Rules
from crawler.urls import netloc

_HOPS = 5  # RFC 9309 2.3.1.2


class Ask(NamedTuple):
    """The origin's robots.txt has to be asked for first."""

    request: Request


class Taught(NamedTuple):
    """What stands for an origin from now on, its rules parsed already."""

    entry: Entry
    rules: Rules | None


class Admission:
    """The gate before the wire. `rules_of` gives what holds for a host (with its port); `robots` is None where no
    robots.txt is obeyed.
    """

    def __init__(self, robots: RobotsCache | None, rules_of: Callable[[str], HostRules], attempts: int) -> None:
        self._robots = robots
        self._rules_of = rules_of
        self._attempts = attempts
        self.asks = robots is not None  # else only dead hosts are refused
        self._delays: dict[str, dict[str, float]] = {}  # Crawl-delay by politeness key and origin
        self._blocked: dict[str, str] = {}  # origins whose address may not be connected to, and why
        self._tries: dict[str, int] = {}  # attempts at a robots.txt that nobody answered

    def look(self, request: Request, wall: float, *, dead: bool) -> Ask | Outcome | None:
        """None: send it. Otherwise its end, or what must be asked for first."""
        if dead:
            error = "its host did not answer for [breaker] give_up, and is not asked any more in this run"
            return Failed(request, "", Reason.HOST_DEAD, error, None)
        robots = self._robots
        if robots is None or request.robots is not None or request.error is not None:
            return None
        if not self._rules_of(netloc(request.url)).robots:
            return None
        verdict = robots.look(request.url, wall)
        if verdict is Verdict.ALLOWED:
            return None
        if verdict is Verdict.DISALLOWED:
            return Skipped(request, Reason.ROBOTS, f"{robots_url(origin_of(request.url))} disallows it")
        if verdict is Verdict.UNREACHABLE and (why := self._blocked.get(origin_of(request.url))):
            return Failed(request, "", Reason.BLOCKED_ADDRESS, why, None)
        if verdict is Verdict.UNREACHABLE:
            error = f"{robots_url(origin_of(request.url))} could not be fetched, so nothing is allowed"
            return Failed(request, "", Reason.ROBOTS_UNREACHABLE, error, None)
        return Ask(self._question(request))

    def hop(self, outcome: Outcome) -> Hop | None:
        """Where an answer to a robots.txt request leads, if it leads on."""
        if not isinstance(outcome, Fetched):
            return None
        step = follow(outcome.request, outcome.status, outcome.headers.get("Location"), _HOPS)
        return step if isinstance(step, Hop) else None

    def learned(self, outcome: Outcome, wall: float) -> Taught | None:
        """What the end of a robots.txt request teaches; None: it will be asked for again. Large texts take a while."""
        robots, origin = self._robots, outcome.request.robots
        assert robots is not None
        assert origin is not None
        answer = (
            Answer(outcome.status, outcome.headers, outcome.body.data or b"") if isinstance(outcome, Fetched) else None
        )
        entry = renew(robots.entry(origin), answer, robots.token, wall)
        if isinstance(outcome, Failed) and outcome.reason is Reason.BLOCKED_ADDRESS and not outcome.request.hops:
            self._blocked[origin] = outcome.error
        else:
            self._blocked.pop(origin, None)
        tries = self._tries.pop(origin, 0) + 1
        for_good = isinstance(outcome, Failed) and POLICY[outcome.reason].tries == 1  # no such host, a dead one
        if entry.kind == "unreachable" and tries < self._attempts and not for_good:
            self._tries[origin] = tries
            return None
        return Taught(entry, robots.parsed(entry) if entry.text else None)

    def take_up(self, origin: str, taught: Taught, key: str) -> float:
        """From now on this stands; the seconds that the origins of a politeness key ask for between two requests."""
        assert self._robots is not None
        self._robots.put(origin, *taught)
        rules = self._rules_of(netloc(robots_url(origin)))
        delays = self._delays.setdefault(key, {})
        delays.pop(origin, None)
        if rules.robots and taught.entry.kind == "rules" and "\nCrawl-delay:" in taught.entry.text:
            delays[origin] = min(self._robots.crawl_delay(origin) or 0.0, rules.crawl_delay_max)
        if not delays:
            del self._delays[key]
        return max(delays.values(), default=0.0)

    def sitemaps(self, origin: str) -> tuple[str, ...]:
        """The sitemaps that the robots.txt of an origin names, as far as that is known."""
        return self._robots.sitemaps(origin) if self._robots is not None else ()

    def _question(self, request: Request) -> Request:
        origin = origin_of(request.url)
        ask = Request(0, robots_url(origin), request.host, attempt=self._tries.get(origin, 0) + 1)
        ask.robots = origin
        ask.seed, ask.mirrors = request.seed, request.mirrors  # it may go where the page may that it is asked for
        return ask
