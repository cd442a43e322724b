"""What the news of an answer does to its host's pace.

Decides which of the pace's rules an answer speaks to. Must not know requests, queues or the clock (`now` is monotonic
seconds). Invariant: only what slows a host, breaks it or gives it up is worth telling the checkpoint at once.
"""

from __future__ import annotations

from random import Random

from crawler.pace import Pace
from crawler.retry import Backoff
from crawler.settle import Host, News


def tell(pace: Pace, news: News, sent_at: float, now: float, backoff: Backoff, rng: Random) -> bool:
    """Tell a pace what an answer says, to a request that was sent at `sent_at`; True when it is to be remembered."""
    changed = _told(pace, news, sent_at, now, backoff, rng)
    if news.wait is not None and news.host in (Host.FINE, Host.ERROR):
        pace.block(now + news.wait)
        changed = True
    if news.quota is not None:
        # The one that was answered is still among those in flight.
        pace.allow(news.quota.remaining + 1, now + news.quota.reset)
        if news.quota.remaining <= 0:
            pace.block(now + news.quota.reset)
            changed = True
    return changed


def _told(pace: Pace, news: News, sent_at: float, now: float, backoff: Backoff, rng: Random) -> bool:
    match news.host:
        case Host.FINE:
            pace.fine(sent_at, now, news.latency)
        case Host.ERROR:
            return pace.failed(sent_at, now, backoff, rng)
        case Host.BUSY:
            return pace.busy(sent_at, now, news.wait, backoff, rng)
        case Host.OVERLOADED:
            return pace.overloaded(sent_at, now, news.wait, backoff, rng)
        case Host.DOWN:
            return pace.down(sent_at, now, news.wait, backoff, rng)
        case Host.UNASKED:
            return pace.down(sent_at, now, news.wait, backoff, rng, learn=False)
    return False
