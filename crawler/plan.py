"""What a job has before it: its rows counted by host, how long it must take at least, and what sets that.

Does: count the rows of the lists and word the outcome, for people and as JSON. Must not know the network, the
checkpoint, nor how the pace of a host is found: shares are given. Invariant: reads each row once, exactly as a run
would, and keeps counts and fingerprints only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from crawler.bound import BLOCKED, DELAY, JOB_RATE, LATENCY, RATE, WORKERS, Bound, Share, Timed, held_by, lower_bound
from crawler.feed import Defaults, request_of
from crawler.fingerprints import Fingerprints
from crawler.model import BadRow, Row
from crawler.progress import duration
from crawler.units import render_rate
from crawler.urls import printable

_SHOWN_BAD = 5
_SHOWN_HOSTS = 10
_HELD = {  # what would shorten a run, by what holds its longest host
    RATE: "limits.rate_per_host is what holds it",
    DELAY: "limits.delay_per_host or its Crawl-delay is what holds it",
    LATENCY: "limits.per_host is what holds it, at the latency that this host has",
    BLOCKED: "nothing: the host asked us to wait",
    "": "nothing: no limit holds it, the hosts and the network decide",
    JOB_RATE: "limits.rate is what holds it, not any single host",
    WORKERS: "limits.workers is what holds it, not any single host",
}


class Counts(NamedTuple):
    """The rows of the lists, and the requests they make by politeness key and by origin (`https://host:port`).

    `rows` is the sum of `requests`, `duplicates` and `bad`; `shown_bad` holds the first bad ones with place and error.
    """

    rows: int
    requests: int
    duplicates: int
    bad: int
    shown_bad: tuple[str, ...]
    hosts: Mapping[str, int]
    origins: Mapping[str, int]


class RobotsSeen(NamedTuple):
    """Origins asked for their robots.txt just now, and rows: disallowed, of unreachable origins, of unknown ones."""

    asked: int
    disallowed: int
    unreachable: int
    unknown: int


class AuthSeen(NamedTuple):
    """One [auth] section: its scheme, for how many requests it is, and what stands in its way, in a sentence."""

    name: str
    scheme: str
    requests: int
    problem: str | None


class Plan(NamedTuple):
    """A job, what it has to fetch, and the least time for it; `robots` is None where none is obeyed."""

    job: str
    counts: Counts
    bound: Bound
    robots: RobotsSeen | None = None
    auth: Sequence[AuthSeen] = ()


def counts(
    rows: Iterable[Row | BadRow], defaults: Defaults, key_of: Callable[[str], str], *, dedupe: bool = True
) -> Counts:
    """Count all rows in one pass; `key_of` gives the politeness key of a host. Raises OSError from reading."""
    seen = Fingerprints()
    number = duplicates = bad = 0
    shown_bad: list[str] = []
    origins: dict[str, int] = {}
    keys: dict[str, str] = {}  # by origin, since `key_of` may have much to look up
    for number, row in enumerate(rows, 1):
        request, print_ = request_of(row, number, defaults)
        if request.error is not None:
            bad += 1
            if bad <= _SHOWN_BAD:
                shown_bad.append(printable(request.error, 400))
        elif dedupe and not seen.add(print_):
            duplicates += 1
        else:
            href = request.url
            origin = href[: href.index("/", 8)]  # a canonical URL has a path, behind https:// and a host
            if origin not in keys:
                keys[origin] = key_of(request.host)
            origins[origin] = origins.get(origin, 0) + 1
    hosts: dict[str, int] = {}
    for origin, requests in origins.items():
        hosts[keys[origin]] = hosts.get(keys[origin], 0) + requests
    return Counts(number, number - duplicates - bad, duplicates, bad, tuple(shown_bad), hosts, origins)


def plan_of(
    job: str,
    counted: Counts,
    shares: Iterable[Share],
    *,
    rate: float | None,
    workers: int,
    robots: RobotsSeen | None = None,
    auth: Sequence[AuthSeen] = (),
) -> Plan:
    """Put a plan together; `rate` and `workers` are those of the whole job, `shares` one for each politeness key."""
    return Plan(job, counted, lower_bound(shares, rate=rate, workers=workers, top=_SHOWN_HOSTS), robots, auth)


def render(plan: Plan) -> str:
    """The plan for people: a dozen lines or two."""
    counted, bound = plan.counts, plan.bound
    held = held_of(bound)
    lines = [
        f"{printable(plan.job)}: {_many(counted.rows, 'row')}, {_many(counted.requests, 'request')} "
        f"to {_hosts(counted)}",
        *([f"  duplicates: {counted.duplicates:,}, not fetched again"] if counted.duplicates else []),
        *_bad_lines(counted),
        *_robots_lines(plan.robots),
        *(_auth_line(seen) for seen in plan.auth),
        f"  lower bound: {_hms(bound.seconds)}{_setter(bound)}",
        f"  what would shorten it: {_HELD[held]}",
        *_table(bound.longest),
    ]
    return "\n".join(lines)


def to_json(plan: Plan) -> str:
    """The plan as one JSON object; times in seconds, rates per second. `set_by` is a host, or a key of [limits]."""
    counted, bound = plan.counts, plan.bound
    data = {
        "job": plan.job,
        "rows": counted.rows,
        "requests": counted.requests,
        "duplicates": counted.duplicates,
        "bad": counted.bad,
        "bad_rows": counted.shown_bad,
        "hosts": len(counted.hosts),
        "origins": len(counted.origins),
        "robots": plan.robots._asdict() if plan.robots is not None else None,
        "auth": [seen._asdict() for seen in plan.auth],
        "lower_bound": {"seconds": bound.seconds, "set_by": bound.key, "held_by": held_of(bound)},
        "longest": [
            {"lower_bound": seconds, "held_by": held_by(share)[0], **share._asdict()}
            for share, seconds in bound.longest
        ],
    }
    return orjson.dumps(data).decode()


def held_of(bound: Bound) -> str:
    """Which limit holds the whole job: that of its longest host, "limits.rate", "limits.workers", or ""."""
    if bound.key in (JOB_RATE, WORKERS) or not bound.seconds:
        return bound.key
    return held_by(bound.longest[0].share)[0]


def _hosts(counted: Counts) -> str:
    hosts, origins = len(counted.hosts), len(counted.origins)
    return _many(hosts, "host") + (f" ({origins:,} origins)" if origins != hosts else "")


def _robots_lines(robots: RobotsSeen | None) -> list[str]:
    if robots is None:
        return []
    parts = [f"{robots.disallowed:,} disallowed"]
    if robots.unreachable:
        parts.append(f"{robots.unreachable:,} not to be fetched while robots.txt is unreachable")
    if robots.unknown:
        parts.append(f"{robots.unknown:,} of origins not asked")
    return [f"  robots.txt: {_many(robots.asked, 'origin')} asked now; requests: {', '.join(parts)}"]


def _auth_line(seen: AuthSeen) -> str:
    state = f"NOT READY: {printable(seen.problem, 400)}" if seen.problem else "ready"
    return f"  auth.{seen.name}: {seen.scheme} for {_many(seen.requests, 'request')}, {state}"


def _bad_lines(counted: Counts) -> list[str]:
    if not counted.bad:
        return []
    lines = [f"  bad rows: {counted.bad:,}, which will end as bad-input"]
    lines += [f"    {error}" for error in counted.shown_bad]
    if counted.bad > len(counted.shown_bad):
        lines.append(f"    and {counted.bad - len(counted.shown_bad):,} more")
    return lines


def _setter(bound: Bound) -> str:
    if bound.key in (JOB_RATE, WORKERS, ""):
        return f", set by {bound.key}" if bound.key else ""
    share = bound.longest[0].share
    return f", set by {printable(share.key)} with {_many(share.requests, 'request')}"


def _table(longest: Iterable[Timed]) -> list[str]:
    """The hosts that need longest, in columns."""
    rows = [(printable(share.key), f"{share.requests:,}", _pace(share), _hms(seconds)) for share, seconds in longest]
    if not rows:
        return []
    rows.insert(0, ("host", "requests", "pace", "lower bound"))
    wide = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  hosts that need longest:",
        *(
            f"    {host:{wide[0]}}  {n:>{wide[1]}}  {pace:>{wide[2]}}  {took:>{wide[3]}}"
            for host, n, pace, took in rows
        ),
    ]


def _pace(share: Share) -> str:
    if share.delay and (not share.rate or share.delay >= 1 / share.rate):
        return f"1 each {duration(share.delay)}"
    if not share.rate:
        return "any"
    text = render_rate(share.rate)
    return text if len(text) <= 10 else f"{share.rate:.3g}/s"


def _hms(seconds: float) -> str:
    if seconds == float("inf"):
        return "forever"
    if seconds < 60:
        return duration(seconds)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}h{minutes:02d}m{rest:02d}s" if hours else f"{minutes}m{rest:02d}s"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
