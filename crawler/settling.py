"""What a verdict does: in the frontier, on the host, in the open group, in the log.

Does: let the judgement of an outcome take effect, and what a robots.txt teaches. Must not decide what an outcome means,
nor know tasks or the wire. Invariant: a request that was taken from the frontier is given back to it, or ended in the
ledger, exactly once; what it leads to is in the frontier before that.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random
from time import monotonic
from time import time as wall_clock

from crawler.discovery import Discovery
from crawler.frontier import Frontier
from crawler.gates import Gates
from crawler.intake import Intake
from crawler.ledger import Ledger
from crawler.model import Failed, Fetched, Outcome, Request, Skipped
from crawler.pace import Pace
from crawler.penalties import tell
from crawler.settle import End, Host, News, Rules, Wait, judge, move, news_of

log = logging.getLogger("crawler")


class Settling:
    """Of one run. `host` is always the one at which a request stood when it was taken."""

    def __init__(
        self,
        rules: Rules,
        gates: Gates,
        frontier: Frontier,
        ledger: Ledger,
        intake: Intake,
        discovery: Discovery | None,
    ) -> None:
        self._rules = rules
        self._gates = gates
        self._frontier = frontier
        self._ledger = ledger
        self._intake = intake
        self._discovery = discovery
        self._rng = Random()

    def settle(self, outcome: Outcome, host: str, pace: Pace, sent_at: float) -> None:
        """Let the verdict on an outcome take effect: in the frontier, on the host, in the batch."""
        now = monotonic()
        request = outcome.request
        verdict = judge(outcome, self._rules, now, self._rng)
        news = verdict.news
        if news.host is Host.FINE and news.wait is None and news.quota is None:
            pace.fine(sent_at, now, news.latency)
        else:
            self._tell_host(news, host, sent_at, now)
        then = verdict.then
        if isinstance(then, End):
            if then.following is not None:
                self._intake.found(then.following, now)  # before its page is done: else all might seem drained
            if isinstance(outcome, Fetched):
                for found in outcome.found:
                    self._intake.found(found, now)
                if outcome.items:
                    self._ledger.items(request, outcome.items)
            self._frontier.done(host, now, sent=not unsent(outcome))
            self._end(request, then)
            return
        self._again(request, then, host, now, _id_of(outcome))

    def refuse(self, outcome: Outcome, host: str) -> None:
        """The same of a request that never went out: it tells nothing of its host."""
        now, request = monotonic(), outcome.request
        then = judge(outcome, self._rules, now, self._rng).then
        if isinstance(then, Wait):  # at its next mirror
            self._again(request, then, host, now, _id_of(outcome))
        else:
            self._frontier.done(host, now, sent=False)
            self._end(request, then)

    async def robots_answered(self, outcome: Outcome, host: str, sent_at: float) -> None:
        """A robots.txt came, or did not: the host that was held for it goes on, or is asked again after its block."""
        now, wall, admission = monotonic(), wall_clock(), self._gates.admission
        request = outcome.request
        self._tell_host(news_of(outcome, self._rules), host, sent_at, now)
        step = admission.hop(outcome)
        if step is not None:
            await self._intake.know(step.url.host)
            move(request, step, self._gates.keys.key_of)
            self._frontier.again(request, 0.0, now, came_from=host)
            self._intake.fed()
            return
        taught = await asyncio.to_thread(admission.learned, outcome, wall)
        now, pace = monotonic(), self._frontier.pace(request.home)
        if taught is not None:
            assert request.robots is not None
            pace.slow_to(admission.take_up(request.robots, taught, request.home), now)
            self._ledger.robots(request.robots, taught.entry.dumps())
            log.info("robots.txt of %s: %s", request.robots, taught.entry.kind)
        else:
            pace.block(now + self._rules.retry_of(request.home).backoff.ceiling(request.attempt))
        self._frontier.done(host, now)
        self._frontier.let_go(request.home, now)
        self._intake.fed()

    def _again(self, request: Request, then: Wait, host: str, now: float, request_id: str) -> None:
        """Let a request that stood at `host` wait, wherever it stands now."""
        self._frontier.again(request, then.not_before, now, came_from=host)
        if then.slug is not None:
            self._ledger.retry(request, then.not_before)
            more = {"url": request.url, "request_id": request_id}
            log.info("retry %s after %s: %s", request.url, then.slug, then.error, extra=more)

    def _end(self, request: Request, end: End) -> None:
        self._ledger.end(request, end)
        record = end.record
        if self._discovery is not None and record.outcome == "fetched":  # else it may be made again
            self._ledger.claims(self._discovery.claimed(request))
        if record.outcome == "failed":
            log.warning(
                "failed %s: %s",
                record.url,
                record.error,
                extra={"reason": record.reason, "url": record.url, "request_id": record.request_id},
            )

    def _tell_host(self, news: News, host: str, sent_at: float, now: float) -> None:
        if news.host is Host.NOTHING:
            return
        pace, backoff = self._frontier.pace(host), self._rules.retry_of(host).backoff
        known = max(pace.blocked_until, now)
        if tell(pace, news, sent_at, now, backoff, self._rng):
            self._ledger.tally.wait(host, pace.blocked_until - known)
            self._ledger.learned(host, at_once=news.wait is not None or news.quota is not None)
            self._say(host, pace, now)

    def _say(self, host: str, pace: Pace, now: float) -> None:
        if pace.dead:
            log.warning("%s is given up: nothing but failures since [breaker] give_up; its requests end", host)
        elif pace.blocked_until > now:
            log.info("%s is left alone for %.1f s: %r", host, pace.blocked_until - now, pace)


def unsent(outcome: Outcome) -> bool:
    """Did nothing of it go onto the wire: no request at all, or one whose body or credential is not to be had."""
    if isinstance(outcome, Fetched):
        return outcome.request.resting is not None
    return isinstance(outcome, Failed) and outcome.timing is None


def _id_of(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Skipped) else outcome.request_id
