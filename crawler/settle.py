"""What an outcome means: the end of its request, another attempt, or the next hop; and the news it brings of its host.

Decides by the job's rules and the reason table. Must not know queues, files or clocks: `now` (monotonic) and `rng`
are given. Invariant: every outcome leads to exactly one Verdict; only an end has a record, and only a fetched end
has a body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from random import Random
from typing import Any, NamedTuple, assert_never

from crawler.capture import METHOD
from crawler.challenges import parse as parse_challenges
from crawler.challenges import wanted
from crawler.errors import POLICY, Reason
from crawler.freshness import fresh_until
from crawler.masking import NOTHING, Mask
from crawler.mirrors import move_on, tell
from crawler.model import Body, Failed, Fetched, Miss, Outcome, Page, Record, Request, Skipped, Timing, Visit
from crawler.quota import Quota, quota_of
from crawler.ranges import GAINED
from crawler.records import Fault, fetched_record, record_of
from crawler.redirect import Hop, Refusal, follow, unsigned
from crawler.retry import Again, RetryPolicy, retry_after
from crawler.urls import netloc, parse


class Rules(NamedTuple):
    """What of the job a verdict needs: `retry_of` gives the policy of a host (with its port), `key_of` a host's
    politeness key; `accepts` says whether a URL's status is a success, `past_end` whether one of a page
    means that there are no more; `mask` knows the secrets. In a crawl `astray` says why a redirect is not followed.
    `honors`: what calls itself fresh is not asked for again.
    """

    run: str
    retry_of: Callable[[str], RetryPolicy]
    key_of: Callable[[str], str]
    accepts: Callable[[str, int], bool]
    max_redirects: int
    headers_in_record: bool
    past_end: Callable[[int, int], bool] = lambda status, page: False
    mask: Mask = NOTHING
    astray: Callable[[Request, str], Fault | None] | None = None
    honors: bool = False


class Host(Enum):
    """What an outcome says of the host that gave it."""

    FINE = "fine"
    BUSY = "busy"  # it is asked too much
    OVERLOADED = "overloaded"  # the same, and for whomever asks: it may be broken as well
    DOWN = "down"  # no answer
    UNASKED = "unasked"  # no credential was to be had, so it is to be left alone, but did nothing wrong
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
    """The request came to its end; `following` is the next page, as a request without a number yet; `visits` are what
    an archive keeps of it; `fields` are those that were extracted; `fresh_until` is the wall second until which it
    need not be asked for by its own word.
    """

    record: Record
    body: Body | None
    following: Request | None = None
    visits: tuple[Visit, ...] = ()
    fields: Mapping[str, Any] | None = None
    fresh_until: float | None = None


class Wait(NamedTuple):
    """The request waits for another attempt, for one at its next mirror, or for its next hop; then `slug` is None."""

    not_before: float
    slug: str | None
    error: str | None


class Verdict(NamedTuple):
    """`then` for the request, `news` for the host that answered."""

    then: End | Wait
    news: News


def judge(outcome: Outcome, rules: Rules, now: float, rng: Random) -> Verdict:
    """Decide what follows; moves the request on (attempt, hop) where it waits again."""
    news = news_of(outcome, rules)
    match outcome:
        case Fetched():
            verdict = _answered(outcome, news, rules, now, rng)
            return verdict if outcome.visit is None else _archived(verdict, outcome.request, outcome.visit)
        case Failed(reason=reason, error=error, status=status):
            return _failed(outcome, news, Fault(reason, error, status), rules, now, rng)
        case Skipped(request=request, reason=reason, error=error):
            return Verdict(_given_up(request, "skipped", Fault(reason, error, None), None, None, rules), news)
    assert_never(outcome)


def news_of(outcome: Outcome, rules: Rules) -> News:
    """What an outcome says of the host that gave it."""
    if not isinstance(outcome, Fetched):
        if not isinstance(outcome, Failed) or not POLICY[outcome.reason].against_host or outcome.gained >= GAINED:
            return _NO_NEWS
        return News(Host.UNASKED if outcome.reason is Reason.AUTH_UNAVAILABLE else Host.DOWN, outcome.wait)
    if outcome.request.resting is not None:
        return _NO_NEWS
    status, timing = outcome.status, outcome.timing
    wall = timing.started_at + timing.total / 1000
    latency = (timing.ttfb or timing.total) / 1000
    quota = quota_of(outcome.headers, wall)
    if status < 300 or _accepted(outcome, rules):
        return News(Host.FINE, None, latency, quota)
    return News(
        _HOST_OF.get(status) or (Host.ERROR if status >= 500 else Host.FINE),
        _wait(outcome, wall, rules),
        latency,
        quota,
    )


def _answered(outcome: Fetched, news: News, rules: Rules, now: float, rng: Random) -> Verdict:
    status, request = outcome.status, outcome.request
    if request.resting is not None:  # its page was read for its links alone
        fault = Fault(Reason.NOT_DUE, request.resting, None)
        return Verdict(End(record_of(rules.run, request, "skipped", fault), None), news)
    if outcome.again:
        request.rounds += 1
        return Verdict(Wait(0.0 if news.wait is None else now + news.wait, None, None), news)
    if _accepted(outcome, rules):
        body = outcome.body if request.method != METHOD else None
        fresh = fresh_until(outcome.headers, outcome.timing.started_at) if rules.honors else None
        record, following = _fetched_record(outcome, rules), _following(outcome, rules)
        end = End(record, body, following, fields=outcome.fields, fresh_until=fresh)
        return Verdict(end, news)
    location = _unsaid(outcome.headers.get("Location"), outcome, rules)
    step = follow(request, status, location, rules.max_redirects, anew=outcome.cookies_changed)
    if isinstance(step, Hop):
        astray = rules.astray(request, step.url.href) if rules.astray is not None else None
        # A wall that sets a cookie is passed by many pages in the same way.
        if astray is not None and not (astray.reason is Reason.KNOWN and outcome.cookies_changed):
            record = record_of(
                rules.run, request, "skipped", astray._replace(status=status), outcome.timing, outcome.request_id
            )
            record.final_url = step.url.href
            return Verdict(End(record, None), news)
        move(request, step, rules.key_of)
        return Verdict(Wait(0.0 if news.wait is None else now + news.wait, None, None), news)
    if isinstance(step, Refusal):
        return _failed(outcome, news, Fault(step.reason, step.error, status), rules, now, rng)
    if request.page is not None and rules.past_end(status, request.page.number):
        fault = Fault(Reason.PAST_END, f"behind the last page: the server answered {status}", status)
        record = record_of(rules.run, request, "skipped", fault, outcome.timing, outcome.request_id)
        return Verdict(End(record, None), news)
    error = f"the server answered {status}"
    if status == 401:
        error += _wanted(outcome)
    return _failed(outcome, news, Fault(Reason.STATUS, error, status), rules, now, rng)


def _archived(verdict: Verdict, request: Request, visit: Visit) -> Verdict:
    """What led to an end is archived with it, at once: a redirect alone would be so again after a kill."""
    visits, then = (*request.trail, visit), verdict.then
    if isinstance(then, End):
        return verdict._replace(then=then._replace(visits=visits))
    if then.slug is None:  # else this URL is asked again, or another for the same body
        request.trail = visits
    return verdict


def _accepted(outcome: Fetched, rules: Rules) -> bool:
    request, status = outcome.request, outcome.status
    if outcome.unchanged:
        return True
    return status == 101 if request.method == METHOD else rules.accepts(request.url, status)


def _wanted(outcome: Fetched) -> str:
    """What a server that answered 401 to a request without credentials wants (RFC 9110 11.6.1)."""
    said = wanted(parse_challenges(outcome.challenges))
    return f" and wants {said}; no credential of an [auth] section went along" if said else ""


def _unsaid(url: str | None, outcome: Fetched, rules: Rules) -> str | None:
    """A URL that a server gave, without the parameters that hold a secret: one that signs queries gets its own back,
    and it is added anew at each hop; it must not stand in a URL that is stored and shown.
    """
    if url is None:
        return None
    url, mask = unsigned(url, outcome.lent), rules.mask
    if mask(url) == url:
        return url
    head, mark, query = url.partition("?")
    pairs = "&".join(pair for pair in query.split("&") if mask(pair) == pair)
    return f"{head}{mark if pairs else ''}{pairs}"


def _following(outcome: Fetched, rules: Rules) -> Request | None:
    """The next page: asked for as this one was, but for its URL."""
    if outcome.next_url is None:
        return None
    request, url = outcome.request, parse(_unsaid(outcome.next_url, outcome, rules) or "")
    return Request(
        0,
        url.href,
        rules.key_of(url.host),
        method=request.method,
        headers=request.headers,
        body=request.body,
        filename=request.filename,
        input=request.input,
        place=request.place,
        page=Page((request.page.number if request.page else 1) + 1, outcome.body.sha256),
        referrer=request.seed,
    )


def _failed(outcome: Fetched | Failed, news: News, fault: Fault, rules: Rules, now: float, rng: Random) -> Verdict:
    request = outcome.request
    if isinstance(outcome, Failed) and outcome.frames:  # a capture lasts as long as something comes
        request.attempt = 1
    policy = rules.retry_of(netloc(request.url))
    gained = isinstance(outcome, Failed) and outcome.gained >= GAINED  # of such a one no number is too many
    attempt = 1 if gained else request.attempt
    step = policy.decide(fault.reason, fault.status, attempt, request.method, now, rng, news.wait)
    if isinstance(step, Again) and not (isinstance(outcome, Failed) and outcome.final):
        request.attempt += not gained
        request.rounds = 0
        return Verdict(Wait(step.not_before, fault.reason.slug(fault.status), fault.error), news)
    return Verdict(_given_up(request, "failed", fault, outcome.timing, outcome.request_id, rules), news)


def _given_up(
    request: Request, outcome: str, fault: Fault, timing: Timing | None, request_id: str | None, rules: Rules
) -> End | Wait:
    """The end of a request, or its first attempt at the next mirror."""
    record = record_of(rules.run, request, outcome, fault, timing, request_id)
    slug = fault.reason.slug(fault.status)
    miss = Miss(request.url, slug, record.attempts, outcome == "failed")
    if move_on(request, fault.reason, miss, rules.key_of):
        return Wait(0.0, slug, fault.error)
    tell(record, request)
    return End(record, None)


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
    request.rounds = 0
    request.warning = hop.warning or request.warning


def _fetched_record(outcome: Fetched, rules: Rules) -> Record:
    record = fetched_record(rules.run, outcome)
    tell(record, outcome.request)
    if rules.headers_in_record:
        # A cookie is a credential that the server lent us.
        shown = ((name.lower(), unsigned(rules.mask(value), outcome.lent)) for name, value in outcome.headers.items())
        record.headers = {name: value for name, value in shown if name != "set-cookie"}
    return record
