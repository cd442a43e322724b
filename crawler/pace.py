"""How fast one host may be asked: concurrency, rate with burst, delays, blocks, all folded into one `not_before`.

Decides the earliest moment of a host's next request. Must not know which requests wait, nor read a clock: `now` is
monotonic seconds, given. Invariant: in any window of w seconds no more than rate*w + burst requests are taken, never
more than `concurrency` are out, and none is taken before `blocked_until`; what is learned (`learning`) and a broken
host (`breaker`) only ever make it slower.

The token bucket is kept as GCRA (ITU-T I.371): one number, the theoretical arrival time, instead of a level and a
time of last refill. A penalty escalates once per window: sixty-four requests that were out when a host fell over are
one fault, not sixty-four (after StormCrawler's queue block of 2026).
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import NamedTuple

from crawler.breaker import Breaker
from crawler.learning import Learned
from crawler.retry import Backoff

_CALM = 3  # windows in a row that end in a fault before the server's own Retry-After is no longer believed


_REFUSALS, _MANY = 16, 0.25  # answers looked back on, and the share of them that speaks of a limit


class PaceLimits(NamedTuple):
    """What a host allows: requests out at once, requests per second (None: any), requests in one go after a pause,
    seconds between two; whether to learn, and down to what rate; when its circuit breaks, and when it is given up.
    """

    concurrency: int
    rate: float | None = None
    burst: int = 1
    delay: float = 0.0
    adaptive: bool = False
    min_rate: float = 0.1
    break_after: int = 10
    give_up: float = 900.0


class PaceState(NamedTuple):
    """What of a pace outlives the process; moments are on the clock that the caller says."""

    blocked_until: float = -inf
    faults: int = 0
    rate: float | None = None
    ceiling: float | None = None
    concurrency: int | None = None
    failures: int = 0
    opened_at: float | None = None
    dead: bool = False

    def shifted(self, by: float) -> PaceState:
        """The same with its moments on another clock."""
        opened = None if self.opened_at is None else self.opened_at + by
        return self._replace(blocked_until=self.blocked_until + by, opened_at=opened)

    def forgiven(self) -> PaceState:
        """What a new run takes over: blocks and what was learned, but every host gets another chance."""
        return self._replace(faults=0, failures=0, opened_at=None, dead=False)


class Pace:
    """The pace of one host."""

    __slots__ = (
        *("_arrival", "_interval", "_quota", "_quota_until", "_tolerance", "_wire"),
        *("blocked_until", "breaker", "concurrency", "crawl_delay", "faults", "in_flight"),
        *("latency", "learned", "limits", "penalty", "refused", "spacing", "window"),
    )

    def __init__(self, limits: PaceLimits) -> None:
        self.limits = limits
        self.concurrency = limits.concurrency  # one for a broken host, and under a Crawl-delay
        self._arrival = -inf  # theoretical arrival time of the next request at an even pace
        self._wire = -inf  # the same by the moments at which requests really went out
        self.in_flight = 0
        self.blocked_until = -inf
        self.faults = 0  # in a row, counted once per window
        self.penalty = 0.0  # seconds of the last block for a fault
        self.window = -inf  # requests sent before this moment belong to a fault that was counted already
        self.refused = 0.0  # share of the last answers that were a 503
        self.spacing = 0.0  # seconds that each request takes at its best; 0 while unknown, and for a dead host
        self.latency = 0.0  # seconds to the first byte, smoothed; 0 while unknown
        self.crawl_delay = 0.0
        self._quota = 0
        self._quota_until = -inf
        self.learned: Learned | None = None
        self.breaker: Breaker | None = None
        self._adjust()

    def __repr__(self) -> str:
        return (
            f"<Pace out={self.in_flight}/{self.concurrency} interval={self._interval:g}s "
            f"blocked_until={self.blocked_until:.3f} faults={self.faults} {self.learned} {self.breaker}>"
        )

    # -- the hot path -------------------------------------------------------------------------------------------------

    @property
    def paced(self) -> bool:
        """Is there a distance to keep between two requests."""
        return self._interval > 0.0

    @property
    def interval(self) -> float:
        """Seconds between two requests at an even pace; 0 where there is no rate."""
        return self._interval

    @property
    def counted_until(self) -> float:
        """Until when nothing goes since the server's own count is used up (see `allow`); -inf where it is not."""
        return self._quota_until if self._quota <= 0 else -inf

    @property
    def dead(self) -> bool:
        """The host was given up: its requests end without being sent, and nothing holds them back."""
        return self.breaker is not None and self.breaker.dead

    def not_before(self, now: float) -> float:
        """Earliest moment of the next request; `inf` while every slot is taken (a release must come first)."""
        if self.breaker is not None and self.breaker.dead:
            return -inf
        if self.in_flight >= self.concurrency:
            return inf
        earliest = self._arrival - self._tolerance
        if self._quota <= 0 and self._quota_until > earliest:
            earliest = self._quota_until
        blocked = self.blocked_until
        return earliest if earliest > blocked else blocked

    def take(self, now: float) -> None:
        """Count one request as sent at `now`; the caller has looked at `not_before`."""
        self.in_flight += 1
        self._quota -= 1
        if self._interval:
            arrival = self._arrival
            self._arrival = (arrival if arrival > now else now) + self._interval

    def sent(self, now: float) -> None:
        """A request that was taken earlier goes onto the wire only now: those that follow keep their distance to it."""
        if self._interval:
            wire = self._wire
            self._wire = wire = (wire if wire > now else now) + self._interval
            if wire > self._arrival:
                self._arrival = wire

    def take_back(self) -> None:
        """The request taken was not sent: it counts against no rate. Its slot is given back by `release`."""
        self._arrival -= self._interval
        self._quota += 1

    def release(self) -> None:
        """Give the slot of one request back."""
        self.in_flight -= 1

    def fine(self, sent_at: float, now: float, latency: float) -> None:
        """The host answered well, `latency` seconds after it was asked."""
        self.latency += (latency - self.latency) * 0.125 if self.latency else latency
        if self.refused:
            self.refused -= self.refused / _REFUSALS
        changed = self.breaker is not None and self.breaker.fine()
        if self.faults and sent_at >= self.window and now >= self.window + 2 * self.penalty:
            self.faults = 0  # as long quiet as it was blocked
        if self.learned is not None:
            changed |= self.learned.fine(now, latency)
        elif self.limits.adaptive:
            self._learn(now)
        if changed:
            self._adjust()
        else:
            spacing = self.latency / self.concurrency
            self.spacing = spacing if spacing > self._interval else self._interval

    # -- faults -------------------------------------------------------------------------------------------------------

    def busy(
        self, sent_at: float, now: float, wait: float | None, backoff: Backoff, rng: Random, *, learn: bool = True
    ) -> bool:
        """The host says that it is asked too much, and to wait so many seconds if it says; True when that is news."""
        if self._counted(sent_at):
            if wait is not None:
                self.block(now + wait)
            return wait is not None
        self._penalise(now, wait, backoff, rng)
        if learn and self.limits.adaptive:
            self._learn(now).too_fast(now, self.limits.min_rate)
            self._adjust()
            self._arrival = max(self._arrival, now + self._interval)  # the pace learned holds from now on
        return True

    def overloaded(self, sent_at: float, now: float, wait: float | None, backoff: Backoff, rng: Random) -> bool:
        """The host says that it cannot answer now: a limit (nginx says so by 503), or a fault that slowness cures not.

        It is a limit where many are refused; True when that is news.
        """
        self.refused += (1.0 - self.refused) / _REFUSALS
        news = self.error(now)
        return self.busy(sent_at, now, wait, backoff, rng, learn=self.refused > _MANY) or news

    def down(
        self, sent_at: float, now: float, wait: float | None, backoff: Backoff, rng: Random, *, learn: bool = True
    ) -> bool:
        """No answer, or one that says the host is down; True when that is news. `learn`: it may have been too much."""
        news = self.error(now)
        if self._counted(sent_at):
            return news
        self._penalise(now, wait, backoff, rng)
        if learn and self.learned is not None:
            self.learned.too_much(now)
            self._adjust()
        return True

    def failed(self, sent_at: float, now: float, backoff: Backoff, rng: Random) -> bool:
        """An answer that is the server's fault. The host answers, so nothing is blocked until its circuit breaks."""
        news = self.error(now)
        if self.breaker is not None and self.breaker.open and not self._counted(sent_at):
            self._penalise(now, None, backoff, rng)
            return True
        return news

    def error(self, now: float) -> bool:
        """Enough failures in a row break the circuit; True when that changed anything."""
        if self.breaker is None:
            self.breaker = Breaker(self.limits.break_after, self.limits.give_up)
        changed = self.breaker.failed(now)
        if changed:
            self._adjust()
        return changed

    def allow(self, requests: int, until: float) -> None:
        """The server counts: so many requests more until that moment, those in flight among them."""
        self._quota = requests - self.in_flight
        self._quota_until = until

    def block(self, until: float) -> None:
        """Let nothing go before `until`; a shorter block never lifts a longer one."""
        if until > self.blocked_until:
            self.blocked_until = until

    def slow_to(self, crawl_delay: float, now: float) -> None:
        """The host's robots.txt asks for so many seconds between two requests; 0 asks for none."""
        if crawl_delay != self.crawl_delay:
            self.crawl_delay = crawl_delay
            self._arrival = max(self._arrival, now + crawl_delay)  # it was asked for robots.txt just now
            self._adjust()

    def limit_to(self, limits: PaceLimits, now: float) -> None:
        """Other limits hold from now on. What the host asked for, its faults and what was learned of it hold as well.

        What was sent counts on: a debt to the old rate becomes as many requests' worth of the new one.
        """
        before, learned = self._interval, self.learned
        self.limits = limits
        if learned is not None:
            learned.limit_to(limits.concurrency, limits.rate)
        self._adjust()
        scale = self._interval / before if before else 0.0
        self._arrival = _rescaled(self._arrival, now, scale)
        self._wire = _rescaled(self._wire, now, scale)

    # -- over a restart -----------------------------------------------------------------------------------------------

    def restart(self, now: float) -> None:
        """After a restart the burst counts as used up: what the killed process sent last is not known."""
        self._arrival = now + self._tolerance + self._interval if self._interval else -inf

    def state(self) -> PaceState:
        """What the checkpoint keeps."""
        learned, breaker = self.learned, self.breaker
        slots = learned.concurrency if learned is not None else None
        return PaceState(
            self.blocked_until,
            self.faults,
            learned.rate if learned is not None else None,
            learned.ceiling if learned is not None else None,
            slots if slots != self.limits.concurrency else None,
            breaker.failures if breaker is not None else 0,
            breaker.opened_at if breaker is not None else None,
            self.dead,
        )

    def restore(self, state: PaceState, now: float) -> None:
        """Take up what the checkpoint kept; the configured limits of today bound what was learned."""
        self.block(state.blocked_until)
        self.faults = state.faults
        if self.limits.adaptive and (state.rate is not None or state.concurrency is not None):
            self._learn(now).restore(state.rate, state.ceiling, state.concurrency)
        if state.failures:
            self.breaker = Breaker(self.limits.break_after, self.limits.give_up)
            self.breaker.restore(state.failures, state.opened_at, dead=state.dead)
        self._adjust()
        self.restart(now)

    # -----------------------------------------------------------------------------------------------------------------

    def _counted(self, sent_at: float) -> bool:
        """Does a request belong to the last fault: sent before it, or taken before and begun during its block."""
        return sent_at < self.window + self.penalty

    def _penalise(self, now: float, wait: float | None, backoff: Backoff, rng: Random) -> None:
        """Block the queue once per window: as long as the server says, or longer with each fault in a row. Where the
        host answered well in between, it is what was learned that slows us, and the row gets shorter.
        """
        if self.learned is not None and self.learned.well:
            self.learned.well = False
            self.faults = max(1, self.faults // 2)
        else:
            self.faults += 1
        self.window = now
        ceiling = backoff.ceiling(self.faults if wait is None else max(self.faults - _CALM, 0))
        if self.breaker is not None and self.breaker.open:
            ceiling = min(ceiling, self.breaker.probe_every)
        own = ceiling * (0.5 + 0.5 * rng.random())
        if wait is not None:  # jitter comes on top: all clients were given the same moment
            own = max(wait + rng.random() * min(1.0, 0.1 * wait), own)
        self.penalty = own
        self.block(now + own)

    def _learn(self, now: float) -> Learned:
        if self.learned is None:
            self.learned = Learned(self.limits.concurrency, self.limits.rate, now)
        return self.learned

    def _adjust(self) -> None:
        """Set concurrency, interval and burst from all that bounds them."""
        limits, learned = self.limits, self.learned
        if self.crawl_delay or (self.breaker is not None and self.breaker.open):
            self.concurrency = 1
        else:
            self.concurrency = limits.concurrency if learned is None else learned.concurrency
        even = max(limits.delay, self.crawl_delay)
        configured = 1.0 / limits.rate if limits.rate else 0.0
        learnt = 1.0 / learned.rate if learned is not None and learned.rate is not None else 0.0
        self._interval = max(even, configured, learnt)
        # In seconds of the configured rate: what was learned makes a burst smaller, never larger.
        self._tolerance = 0.0 if even else configured * (limits.burst - 1)
        self.spacing = 0.0 if self.dead else max(self._interval, self.latency / self.concurrency)


def _rescaled(arrival: float, now: float, scale: float) -> float:
    """A moment to come, at another rate; one that is past says nothing of it."""
    return now + (arrival - now) * scale if arrival > now else arrival
