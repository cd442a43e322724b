"""What the news of an answer does to its host's pace."""

from __future__ import annotations

from random import Random

import pytest

from crawler.pace import Pace, PaceLimits
from crawler.penalties import tell
from crawler.quota import Quota
from crawler.retry import Backoff
from crawler.settle import Host, News

BACKOFF = Backoff(initial=1.0)
LIMITS = PaceLimits(4, break_after=3, give_up=80.0)


def told(pace: Pace, news: News, now: float = 10.0) -> bool:
    return tell(pace, news, now - 0.1, now, BACKOFF, Random(1))


@pytest.mark.parametrize(
    ("news", "remembered", "blocked"),
    [
        (News(Host.FINE, None, 0.1), False, False),
        (News(Host.FINE, 5.0, 0.1), True, True),  # a redirect with Retry-After
        (News(Host.BUSY), True, True),
        (News(Host.OVERLOADED), True, True),
        (News(Host.DOWN), True, True),
        (News(Host.UNASKED), True, True),
        (News(Host.ERROR), False, False),
        (News(Host.ERROR, 5.0), True, True),
        (News(Host.FINE, None, 0.1, Quota(7, 60.0)), False, False),
        (News(Host.FINE, None, 0.1, Quota(0, 60.0)), True, True),
        (News(Host.NOTHING), False, False),
    ],
)
def test_only_what_slows_a_host_is_remembered(news: News, remembered: bool, blocked: bool) -> None:
    """A block, by whatever the answer says, is for the checkpoint; a good answer is not."""
    pace = Pace(LIMITS)
    assert told(pace, news) == remembered
    assert (pace.blocked_until > 10.0) == blocked


def test_server_errors_alone_leave_a_host_at_its_pace_until_they_break_its_circuit() -> None:
    """Then it is probed with pauses, not as fast as it fails, and given up in the end."""
    pace, now = Pace(LIMITS), 10.0
    assert [told(pace, News(Host.ERROR), now) for _ in range(2)] == [False, False]
    assert pace.not_before(now) <= now
    sent = 0
    while not pace.dead:
        assert told(pace, News(Host.ERROR), now)
        sent += 1
        now = max(now, pace.not_before(now)) + 0.1
    assert 8 <= sent <= 30
    assert now <= 10.0 + 80.0 + 11.0


def test_a_host_that_was_not_even_asked_is_left_alone_and_keeps_its_pace() -> None:
    """No token was to be had: a host that fell over is asked less at once from then on, this one is not."""
    for host, at_once in ((Host.DOWN, 2), (Host.UNASKED, 4)):
        pace = Pace(PaceLimits(4, adaptive=True))
        told(pace, News(Host.FINE, None, 0.1), 9.0)
        told(pace, News(host))
        assert pace.blocked_until > 10.0
        assert pace.concurrency == at_once


def test_the_one_that_was_answered_is_not_counted_as_still_to_be_answered() -> None:
    """Of a quota of one, one more may go."""
    pace = Pace(LIMITS)
    pace.take(9.0)
    told(pace, News(Host.FINE, None, 0.1, Quota(1, 60.0)))
    pace.release()
    assert pace.not_before(10.0) <= 10.0
    pace.take(10.0)
    assert pace.not_before(10.0) == 70.0
