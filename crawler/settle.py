"""What an outcome means: the end of its request, another attempt, or the next hop; and what it says of the host.

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
from crawler.redirect import Hop, Refusal, follow
from crawler.retry import Again, RetryPolicy, retry_after

# Statuses by which a server says that it is asked too much, of whatever page.
_OVERLOADED = frozenset({429, 503})


class Rules(NamedTuple):
    """What of the job a verdict needs."""

    run: str
    retry: RetryPolicy
    accepts: Callable[[int], bool]
    max_redirects: int
    headers_in_record: bool


class Host(Enum):
    """What an outcome says of the host that gave it."""

    FINE = "fine"
    FAULT = "fault"
    NOTHING = "nothing"


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
    """`then` for the request; `host` and `blocked_until` (monotonic seconds) for the host that answered."""

    then: End | Wait
    host: Host
    blocked_until: float | None = None


class _Fault(NamedTuple):
    """Why an attempt was no success."""

    reason: Reason
    error: str
    status: int | None


def judge(outcome: Outcome, rules: Rules, now: float, rng: Random) -> Verdict:
    """Decide what follows; moves the request on (attempt, hop) where it waits again."""
    match outcome:
        case Fetched():
            return _answered(outcome, rules, now, rng)
        case Failed(reason=reason, error=error, status=status):
            return _failed(outcome, _Fault(reason, error, status), rules, now, rng)
        case Skipped(request=request, reason=reason, error=error):
            record = _record(rules.run, request, "skipped", _Fault(reason, error, None))
            return Verdict(End(record, None), Host.NOTHING)
    assert_never(outcome)


def _answered(outcome: Fetched, rules: Rules, now: float, rng: Random) -> Verdict:
    status = outcome.status
    if rules.accepts(status):
        return Verdict(End(_fetched_record(outcome, rules), outcome.body), Host.FINE)
    request = outcome.request
    step = follow(request, status, outcome.headers.get("Location"), rules.max_redirects)
    if isinstance(step, Hop):
        _move(request, step)
        wait = _retry_after(outcome, now, rules)
        return Verdict(Wait(wait or 0.0, None, None), Host.FINE, wait)
    if isinstance(step, Refusal):
        return _failed(outcome, _Fault(step.reason, step.error, status), rules, now, rng)
    return _failed(outcome, _Fault(Reason.STATUS, f"the server answered {status}", status), rules, now, rng)


def _failed(outcome: Fetched | Failed, fault: _Fault, rules: Rules, now: float, rng: Random) -> Verdict:
    request = outcome.request
    blocked = _retry_after(outcome, now, rules) if isinstance(outcome, Fetched) else None
    host = _speaks_of_host(fault)
    wait = blocked - now if blocked is not None else None
    step = rules.retry.decide(fault.reason, fault.status, request.attempt, request.method, now, rng, wait)
    if isinstance(step, Again):
        request.attempt += 1
        return Verdict(Wait(step.not_before, fault.reason.slug(fault.status), fault.error), host, blocked)
    record = _record(rules.run, request, "failed", fault, outcome.timing, outcome.request_id)
    return Verdict(End(record, None), host, blocked)


def _speaks_of_host(fault: _Fault) -> Host:
    if fault.reason is Reason.STATUS:
        return Host.FAULT if fault.status in _OVERLOADED else Host.FINE
    return Host.FAULT if POLICY[fault.reason].against_host else Host.NOTHING


def _retry_after(outcome: Fetched, now: float, rules: Rules) -> float | None:
    """Moment until which the host asked to be left alone (RFC 9110 10.2.3: 503, 429, 3xx), bounded by the job."""
    value = outcome.headers.get("Retry-After")
    if value is None or not (outcome.status in _OVERLOADED or 300 <= outcome.status < 400):
        return None
    wall = outcome.timing.started_at + outcome.timing.total / 1000
    seconds = retry_after(value, outcome.headers.get("Date"), wall)
    return None if seconds is None else now + min(seconds, rules.retry.retry_after_max)


def _move(request: Request, hop: Hop) -> None:
    request.hops = (*request.hops, request.url)
    request.url = hop.url.href
    request.host = hop.url.host
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
        attempts=request.attempt if timing else 0,
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
