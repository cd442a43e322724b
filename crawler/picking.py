"""Which failures are made again: by reason, host, status and age.

Decides by the wish alone. Must not know the store or the clock: `now` is wall seconds. Invariant: of several kinds of
wish all must hold, of several of one kind any; no wish at all means every failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from math import inf
from typing import NamedTuple, Protocol, TypeVar

from crawler.errors import Reason
from crawler.reasonglobs import STATUSES, glob
from crawler.statuses import span_of

_SLUGS = [reason.slug() for reason in Reason if reason is not Reason.STATUS]


class Failing(Protocol):
    """What is looked at of a failure: host, slug of the reason, wall second of the end."""

    @property
    def host(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def at(self) -> float: ...


F = TypeVar("F", bound=Failing)


class Picked(NamedTuple):
    """A wish: reasons and hosts may be globs of `*` and `?`, statuses `503`, `5xx` or `500-599`; `older` in seconds.

    The reason `status` stands for any status; a host is the politeness key of the URL as it stood in the input.
    """

    reasons: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    older: float | None = None


def pick(failures: Iterable[F], wanted: Picked, now: float) -> list[F]:
    """Those failures that are wanted, in their order. Raises ValueError for a reason or status that cannot be."""
    reasons = [_reason(text) for text in wanted.reasons]
    spans = [_span(text) for text in wanted.statuses]
    hosts = [glob(text.lower()) for text in wanted.hosts]
    latest = now - wanted.older if wanted.older is not None else inf
    by_reason: dict[str, bool] = {}  # of 10^6 failures few have a reason, or a host, of their own
    by_host: dict[str, bool] = {}
    found = []
    for failure in failures:
        reason, host = failure.reason, failure.host
        if reason not in by_reason:
            by_reason[reason] = _any(reasons, reason) and _within(spans, reason)
        if host not in by_host:
            by_host[host] = _any(hosts, host)
        if by_reason[reason] and by_host[host] and failure.at <= latest:
            found.append(failure)
    return found


def _any(globs: list[re.Pattern[str]], text: str) -> bool:
    return not globs or any(one.fullmatch(text) for one in globs)


def _within(spans: list[tuple[int, int]], reason: str) -> bool:
    status = reason.removeprefix("status-")
    return not spans or (status.isdigit() and any(first <= int(status) <= last for first, last in spans))


def _reason(text: str) -> re.Pattern[str]:
    found = glob("status-*" if text == Reason.STATUS.value else text)
    if not any(found.fullmatch(slug) for slug in (*_SLUGS, *STATUSES)):
        near = get_close_matches(text, _SLUGS, 1) or get_close_matches(text, ["status-404", "status-5*"], 1)
        raise ValueError(f"'{text}' is no reason" + (f"; did you mean '{near[0]}'?" if near else ""))
    return found


def _span(text: str) -> tuple[int, int]:
    span = span_of(text.lower())
    if span is None or span[0] < 100:
        raise ValueError(f"'{text}' is no status; write it like '503', '5xx' or '500-599'")
    return span
