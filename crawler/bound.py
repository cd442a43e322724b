"""How long a run must take at least, by politeness and by what is known of latencies; and the ETA of a live one.

Decides the lower bound of each host's time and of the whole job's. Must not know queues, clocks or where the counts
come from. Invariant: a bound never falls when requests are added; no schedule that keeps the limits is faster.

Hosts run beside each other, so the longest host sets the time of the job, unless what all of them share (limits.rate,
limits.workers) needs longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappush, heappushpop
from math import inf
from typing import NamedTuple

RATE, DELAY, LATENCY, BLOCKED = "rate", "delay", "latency", "blocked"
JOB_RATE, WORKERS = "limits.rate", "limits.workers"
_AT_ONCE = 0.05  # seconds' worth of limits.rate that may go at once


class Share(NamedTuple):
    """What one politeness key has to do, and how fast it may: `rate` per second (None: any), times in seconds.

    `burst` is 0 where the last one may just have been sent (after a restart); `delay` is the least time between two
    requests, `latency` the time of one (None: unknown), `blocked` how long it must still wait.
    """

    key: str
    requests: int
    rate: float | None = None
    burst: int = 1
    delay: float = 0.0
    concurrency: int = 1
    latency: float | None = None
    blocked: float = 0.0


class Timed(NamedTuple):
    """A share and its bound in seconds."""

    share: Share
    seconds: float


class Bound(NamedTuple):
    """The least time of a job in seconds, what sets it, and the hosts that need longest, the longest first.

    `key` is a politeness key, or "limits.rate", or "limits.workers"; "" where nothing holds the job up.
    """

    seconds: float
    key: str
    longest: tuple[Timed, ...]


def bound_of(share: Share) -> float:
    """Seconds from now until the last request of a share can go, or be answered where its latency is known."""
    return held_by(share)[1]


def held_by(share: Share) -> tuple[str, float]:
    """What holds a share up longest ("rate", "delay", "latency", "blocked", or "" for nothing), and its bound."""
    requests = share.requests
    if requests <= 0:
        return "", 0.0
    what, seconds = "", 0.0
    # A burst goes at once, as from a full bucket; under a delay there is none (see pace).
    waits = max(0, requests - (min(share.burst, 1) if share.delay else share.burst))
    if share.rate and waits:
        what, seconds = RATE, waits / share.rate
    if (between := waits * share.delay) > seconds:
        what, seconds = DELAY, between
    if share.latency and (busy := requests * share.latency / max(1, share.concurrency)) > seconds:
        what, seconds = LATENCY, busy
    blocked = max(0.0, share.blocked)
    return BLOCKED if blocked > seconds else what, blocked + seconds


def lower_bound(shares: Iterable[Share], *, rate: float | None, workers: int, top: int = 5) -> Bound:
    """The bound of all shares together, in one pass; `rate` is that of the whole job, `top` (from 1) bounds `longest`.

    Of bounds that are equal a host's goes before the job's, and an earlier host's before a later one's.
    """
    longest: list[tuple[float, int, Share]] = []
    requests, busy = 0, 0.0
    for number, share in enumerate(shares):
        requests += share.requests
        if share.latency:
            busy += share.requests * share.latency
        seconds = bound_of(share)
        if len(longest) < top:
            heappush(longest, (seconds, -number, share))
        elif longest and seconds > longest[0][0]:
            heappushpop(longest, (seconds, -number, share))
    ranked = tuple(Timed(share, seconds) for seconds, _, share in sorted(longest, reverse=True))
    of_all = [(timed.seconds, timed.share.key) for timed in ranked[:1]]
    of_all += [(_of_job_rate(requests, rate) if rate else 0.0, JOB_RATE), (busy / workers, WORKERS)]
    seconds, key = max(of_all, key=lambda bound: bound[0])
    return Bound(seconds, key if seconds else "", ranked)


def _of_job_rate(requests: int, rate: float) -> float:
    return max(0.0, requests - at_once(rate)) / rate


def at_once(rate: float) -> float:
    """Requests that may go at once under `limits.rate`, in requests per second."""
    return max(1.0, rate * _AT_ONCE)


def eta(longest: float, waiting: int, speed: float) -> float:
    """Seconds until a live run ends: the bound of its longest host, or all that waits at the present `speed` a second.

    `inf` while something waits and nothing ends.
    """
    at_speed = waiting / speed if speed > 0 else inf if waiting else 0.0
    return max(longest, at_speed)
