"""When a failed attempt is made again."""

from __future__ import annotations

from math import isfinite
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import POLICY, Reason
from crawler.retry import Again, Backoff, GiveUp, RetryPolicy, retry_after

POLICY_OF_JOB = RetryPolicy()


def decide(reason: Reason, status: int | None = None, attempt: int = 1, method: str = "GET", wait: float | None = None):  # type: ignore[no-untyped-def]
    return POLICY_OF_JOB.decide(reason, status, attempt, method, 100.0, Random(1), wait)


def test_every_reason_has_a_policy() -> None:
    """The table is complete, and slugs are unique."""
    assert set(POLICY) == set(Reason)
    assert Reason.STATUS.slug(404) == "status-404"
    assert len({reason.value for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("reason", [Reason.CONNECT_REFUSED, Reason.READ_TIMEOUT, Reason.TRUNCATED, Reason.DNS_FAILED])
def test_passing_faults_are_retried_up_to_the_limit(reason: Reason) -> None:
    """Attempts one to four lead to another, the fifth is the last."""
    assert all(isinstance(decide(reason, attempt=attempt), Again) for attempt in range(1, 5))
    assert decide(reason, attempt=5) == GiveUp()


@pytest.mark.parametrize("reason", [Reason.DNS_NOT_FOUND, Reason.TLS_UNTRUSTED, Reason.TOO_LARGE, Reason.REDIRECT_LOOP])
def test_lasting_faults_are_not(reason: Reason) -> None:
    """What will not change is given up at once."""
    assert decide(reason) == GiveUp()


@pytest.mark.parametrize(("status", "again"), [(404, False), (501, False), (429, True), (503, True), (408, True)])
def test_statuses_by_the_jobs_list(status: int, again: bool) -> None:
    """Only the statuses of retry.statuses pass."""
    assert isinstance(decide(Reason.STATUS, status), Again) == again


def test_a_post_is_repeated_only_where_nothing_happened() -> None:
    """A refused connection or 429 is safe to repeat, a lost answer is not."""
    assert isinstance(decide(Reason.CONNECT_REFUSED, method="POST"), Again)
    assert isinstance(decide(Reason.STATUS, 429, method="POST"), Again)
    assert decide(Reason.READ_TIMEOUT, method="POST") == GiveUp()
    assert decide(Reason.STATUS, 500, method="POST") == GiveUp()


@given(st.integers(1, 10_000), st.integers())
def test_backoff_stays_within_its_bounds(attempt: int, seed: int) -> None:
    """Never negative, never above the maximum, whatever the attempt."""
    assert 0 <= Backoff().delay(attempt, Random(seed)) <= 120


@given(st.floats(0, 1e9))
def test_never_before_what_the_server_asked(wait: float) -> None:
    """Retry-After is obeyed up to its bound."""
    step = decide(Reason.STATUS, 429, wait=wait)
    assert step.not_before >= 100 + min(wait, 3600)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("3, 7", 3),
        ("-5", None),
        ("soon", None),
        ("9" * 40, None),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60),
        ("Thu Jan  1 00:01:00 2026", 60),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 0),
    ],
)
def test_retry_after_in_all_its_forms(value: str, seconds: float | None) -> None:
    """Seconds and the three dates of RFC 9110; a date counts from the response's own Date."""
    assert retry_after(value, "Thu, 01 Jan 2026 00:00:00 GMT", 0.0) == seconds


@given(st.text(max_size=80), st.text(max_size=40))
def test_garbage_never_raises(value: str, date: str) -> None:
    """Any text is a wait or none."""
    seconds = retry_after(value, date, 1e9)
    assert seconds is None or (seconds >= 0 and isfinite(seconds))
