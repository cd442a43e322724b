"""What an outcome means: the end of its request, another attempt, or the next hop; and the news it brings of its host.

Decides by the job's rules and the reason table. Must not know queues, files or clocks: `now` (monotonic) and `rng`
are given. Invariant: every outcome leads to exactly one Verdict; only an end has a record, and only a fetched end
has a body.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from random import Random
from typing import NamedTuple, assert_never

from crawler.errors import POLICY, Reason
from crawler.model import Body, Elapsed, Failed, Fetched, Outcome, Record, Request, Skipped, Timing
from crawler.quota import Quota, quota_of
from crawler.redirect import Hop, Refusal, follow
from crawler.retry import Again, RetryPolicy, retry_after
from crawler.urls import netloc


class Rules(NamedTuple):
    """What of the job a verdict needs: `retry_of` gives the policy of a host (with its port), `key_of` a host's
    politeness key.
    """

    run: str
    retry_of: Callable[[str], RetryPolicy]
    key_of: Callable[[str], str]
    accepts: Callable[[int], bool]
    max_redirects: int
    headers_in_record: bool


class Host(Enum):
    """What an outcome says of the host that gave it."""

    FINE = "fine"
    BUSY = "busy"  # it is asked too much
    OVERLOADED = "overloaded"  # the same, and for whomever asks: it may be broken as well
    DOWN = "down"  # no answer
    ERROR = "error"  # it answers, but with an error of its own
    NOTHING = "nothing"


class News(NamedTuple):
    """What is to be told to a host's pace: `wait` in seconds where the host said so, `latency` to its first byte."""

    host: Host
    wait: float | None = None
    latency: float = 0.0
    quota: Quota | None = None


_NO_NEWS = News(Host.NOTHING)
# By these a server speaks of itself, whatever the page.
_HOST_OF = {429: Host.BUSY, 503: Host.OVERLOADED}  # nginx limits by 503 unless told otherwise


class End(NamedTuple):
    """The request came to its end."""

    record: Record
    body: Body | None


class Wait(NamedTuple):
    """The request waits for another attempt or its next hop; `slug` is None for a hop."""

    not_before: float
    slug: str | None
    error: str | None


class Verdict(NamedTuple):
    """`then` for the request, `news` for the host that answered."""

    then: End | Wait
    news: News


class _Fault(NamedTuple):
    """Why an attempt was no success."""

    reason: Reason
    error: str
    status: int | None


def judge(outcome: Outcome, rules: Rules, now: float, rng: Random) -> Verdict:
    """Decide what follows; moves the request on (attempt, hop) where it waits again."""
    news = news_of(outcome, rules)
    match outcome:
        case Fetched():
            return _answered(outcome, news, rules, now, rng)
        case Failed(reason=reason, error=error, status=status):
            return _failed(outcome, news, _Fault(reason, error, status), rules, now, rng)
        case Skipped(request=request, reason=reason, error=error):
            return Verdict(End(_record(rules.run, request, "skipped", _Fault(reason, error, None)), None), news)
    assert_never(outcome)


def news_of(outcome: Outcome, rules: Rules) -> News:
    """What an outcome says of the host that gave it."""
    if not isinstance(outcome, Fetched):
        told = isinstance(outcome, Failed) and POLICY[outcome.reason].against_host
        return News(Host.DOWN) if told else _NO_NEWS
    status, timing = outcome.status, outcome.timing
    wall = timing.started_at + timing.total / 1000
    latency = (timing.ttfb or timing.total) / 1000
    quota = quota_of(outcome.headers, wall)
    if status < 300 or rules.accepts(status):
        return News(Host.FINE, None, latency, quota)
    return News(
        _HOST_OF.get(status) or (Host.ERROR if status >= 500 else Host.FINE),
        _wait(outcome, wall, rules),
        latency,
        quota,
    )


def _answered(outcome: Fetched, news: News, rules: Rules, now: float, rng: Random) -> Verdict:
    status = outcome.status
    if rules.accepts(status):
        return Verdict(End(_fetched_record(outcome, rules), outcome.body), news)
    request = outcome.request
    step = follow(request, status, outcome.headers.get("Location"), rules.max_redirects)
    if isinstance(step, Hop):
        move(request, step, rules.key_of)
        return Verdict(Wait(0.0 if news.wait is None else now + news.wait, None, None), news)
    if isinstance(step, Refusal):
        return _failed(outcome, news, _Fault(step.reason, step.error, status), rules, now, rng)
    return _failed(outcome, news, _Fault(Reason.STATUS, f"the server answered {status}", status), rules, now, rng)


def _failed(outcome: Fetched | Failed, news: News, fault: _Fault, rules: Rules, now: float, rng: Random) -> Verdict:
    request = outcome.request
    policy = rules.retry_of(netloc(request.url))
    step = policy.decide(fault.reason, fault.status, request.attempt, request.method, now, rng, news.wait)
    if isinstance(step, Again):
        request.attempt += 1
        return Verdict(Wait(step.not_before, fault.reason.slug(fault.status), fault.error), news)
    record = _record(rules.run, request, "failed", fault, outcome.timing, outcome.request_id)
    return Verdict(End(record, None), news)


def _wait(outcome: Fetched, wall: float, rules: Rules) -> float | None:
    """Seconds that the host asked to be left alone (RFC 9110 10.2.3: 503, 429, 3xx), bounded by the job."""
    value = outcome.headers.get("Retry-After")
    if value is None or not (outcome.status in _HOST_OF or 300 <= outcome.status < 400):
        return None
    seconds = retry_after(value, outcome.headers.get("Date"), wall)
    return None if seconds is None else min(seconds, rules.retry_of(netloc(outcome.request.url)).retry_after_max)


def move(request: Request, hop: Hop, key_of: Callable[[str], str]) -> None:
    """Let a request stand at its next hop."""
    request.hops = (*request.hops, request.url)
    request.url = hop.url.href
    request.host = key_of(hop.url.host)
    request.method = hop.method
    request.body = hop.body
    request.headers = hop.headers
    request.foreign = hop.foreign


def _fetched_record(outcome: Fetched, rules: Rules) -> Record:
    headers = outcome.headers
    record = _record(rules.run, outcome.request, "fetched", None, outcome.timing, outcome.request_id)
    record.status = outcome.status
    record.bytes, record.sha256 = outcome.body.size, outcome.body.sha256
    record.content_type = headers.get("Content-Type")
    record.etag = headers.get("ETag")
    record.last_modified = headers.get("Last-Modified")
    record.length_checked = outcome.length_checked
    record.warning = outcome.warning
    if rules.headers_in_record:
        # A cookie is a credential that the server lent us.
        record.headers = {name.lower(): value for name, value in headers.items() if name.lower() != "set-cookie"}
    return record


def _record(
    run: str,
    request: Request,
    outcome: str,
    fault: _Fault | None,
    timing: Timing | None = None,
    request_id: str | None = None,
) -> Record:
    return Record(
        id=request.id,
        run=run,
        url=request.seed,
        final_url=request.url,
        method=request.method,
        outcome=outcome,
        reason=fault.reason.slug(fault.status) if fault else None,
        status=fault.status if fault else None,
        attempts=request.attempt if timing else request.attempt - 1,
        started_at=_iso(timing.started_at) if timing else None,
        elapsed_ms=Elapsed(timing.dns, timing.connect, timing.ttfb, timing.total) if timing else None,
        bytes=None,
        sha256=None,
        content_type=None,
        headers=None,
        etag=None,
        last_modified=None,
        change=None,
        depth=0,
        referrer=None,
        length_checked=None,
        request_id=request_id,
        input=request.input,
        fields=None,
        place=str(request.place) if request.place else None,
        warning=None,
        error=fault.error if fault else None,
        body=None,
    )


@lru_cache(maxsize=8)
def _second(wall: int) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def _iso(wall: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    milliseconds = int(wall * 1000)
    return f"{_second(milliseconds // 1000)}{milliseconds % 1000:03d}Z"
