"""What the headers of an answer say of how many more requests the server allows, and until when.

Decides between the drafts of the IETF (draft-ietf-httpapi-ratelimit-headers), GitHub's, Discord's, Kong's and other
customs. Must not know hosts, paces or a clock: `wall_now` is given, and a Date of the answer's own goes before it.
Invariant: never raises; what it returns is plausible (0 <= reset <= 24 h), and what is not is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from crawler.retry import retry_after

DAY = 86_400.0
_YEAR = 366 * DAY
_LONGEST = 2048  # characters of a header that are worth a look
_PAIRS = (
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
)
_UNITS = {  # Kong
    "x-ratelimit-remaining-second": 1.0,
    "x-ratelimit-remaining-minute": 60.0,
    "x-ratelimit-remaining-hour": 3600.0,
    "x-ratelimit-remaining-day": DAY,
}
# In lower case, which CIMultiDict finds in half the time. An answer without any of them has no quota.
_TELLING = ("ratelimit", *(remaining for remaining, _ in _PAIRS), *_UNITS)
_NUMBER = re.compile(r"\s*(\d{1,15}(?:\.\d{0,15})?)\s*\Z", re.ASCII)
# Structured fields (RFC 9651), read with indulgence: members of a list, and the parts of a member. The possessive `*+`
# keeps a quote that is never closed from being searched for its end again and again.
_MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)+')
_PART = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*+"?)+')
_Lines = dict[str, list[str]]


class Quota(NamedTuple):
    """Requests still allowed, and the seconds from now (0 to 24 h) until the server allows more."""

    remaining: int
    reset: float


class _Clock(NamedTuple):
    """The wall clock, and the Date of the answer, read only where a header names a moment."""

    date: str | None
    wall_now: float

    def until(self, moment: float) -> float | None:
        """Seconds until a moment (since the epoch), 0 for a past one; None for one that is years away."""
        sent = _date(self.date)
        left = moment - (self.wall_now if sent is None else sent)
        return max(0.0, left) if abs(left) < _YEAR else None


def quota_of(headers: Mapping[str, str], wall_now: float) -> Quota | None:
    """The tightest quota that the headers tell, None where they tell none; of equal ones that with the latest reset.

    `headers` compare without case; a name may stand there several times (`items` gives each). `wall_now` is in seconds
    since the epoch.
    """
    for name in _TELLING:
        if name in headers:
            break
    else:
        return None
    lines = _lines(headers)
    clock = _Clock(lines["date"][0] if "date" in lines else None, wall_now)
    windows = _windows(lines)
    found = [*_of_drafts(lines, windows, clock), *_of_pairs(lines, windows, clock)]
    return min(found or _of_units(lines, clock), key=lambda quota: (quota.remaining, -quota.reset), default=None)


def _lines(headers: Mapping[str, str]) -> _Lines:
    """What stands under the names that count here, in lower case."""
    lines: _Lines = {}
    for name, text in headers.items():
        name = name.lower()
        if (name == "date" or "rate" in name) and len(text) <= _LONGEST:
            lines.setdefault(name, []).append(text)
    return lines


def _of_drafts(lines: _Lines, windows: Mapping[str, float], clock: _Clock) -> Iterator[Quota]:
    """RateLimit: `"default";r=0;t=30` of draft 8 and later, `limit=100, remaining=0, reset=30` of draft 7."""
    members = [member for line in lines.get("ratelimit", ()) for member in _members(line)]
    older: dict[str, str] = {}
    for head, params in members:
        name, equals, value = head.partition("=")
        if equals:
            older |= {name.strip().lower(): value, **params}  # some write semicolons for the commas
    told = [(older.get("remaining"), older.get("reset"), "")]
    told += [(params.get("r"), params.get("t"), head) for head, params in members]
    for remaining, reset, name in told:
        if quota := _quota(remaining, reset, _window(windows, name), clock):
            yield quota


def _of_pairs(lines: _Lines, windows: Mapping[str, float], clock: _Clock) -> Iterator[Quota]:
    """A header for what remains (`76` or, from Docker, `76;w=21600`) and one for the reset."""
    for name, other in _PAIRS:
        # Discord's seconds from now need no clock, its X-RateLimit-Reset does.
        after = lines.get("x-ratelimit-reset-after") if name == "x-ratelimit-remaining" else None
        resets = after or lines.get(other) or [""]
        for number, line in enumerate(lines.get(name, ())):
            members = list(_members(line))
            if len(members) != 1:
                continue
            head, params = members[0]
            window = _number(params.get("w"))
            reset = resets[min(number, len(resets) - 1)]
            if quota := _quota(head, reset, _window(windows, "") if window is None else window, clock):
                yield quota


def _of_units(lines: _Lines, clock: _Clock) -> Iterator[Quota]:
    """Kong's counts by unit of time, which name no reset of their own: a unit from now at the latest."""
    resets = lines.get("ratelimit-reset") or lines.get("x-ratelimit-reset") or [""]
    stated = _seconds(resets[0], clock)
    for name, unit in _UNITS.items():
        for line in lines.get(name, ()):
            if (remaining := _number(line)) is not None:
                yield Quota(int(remaining), unit if stated is None else min(unit, stated))


def _quota(remaining: str | None, reset: str | None, window: float | None, clock: _Clock) -> Quota | None:
    """A quota of what a server said; `window`, in seconds, stands in for the reset of one that is used up."""
    left = _number(remaining)
    if left is None:
        return None
    seconds = _seconds(reset, clock)
    if seconds is None and left < 1:
        seconds = window
    return None if seconds is None else Quota(int(left), min(seconds, DAY))


def _windows(lines: _Lines) -> Mapping[str, float]:
    """RateLimit-Policy: the length of each policy's window in seconds, by its name (in draft 7 its quota)."""
    members = [member for line in lines.get("ratelimit-policy", ()) for member in _members(line)]
    found = ((head, _number(params.get("w"))) for head, params in members)
    return {head: seconds for head, seconds in found if seconds is not None}


def _window(windows: Mapping[str, float], name: str) -> float | None:
    """The window of a policy; without its name the shortest: the answer after it will tell whether it was another."""
    return windows.get(name) or min(windows.values(), default=None)


def _seconds(text: str | None, clock: _Clock) -> float | None:
    """Seconds until a reset. The size of a number tells whether it counts from now or, in s or ms, from the epoch."""
    if not text:
        return None
    number = _number(text)
    if number is None:
        moment = _moment(text)
        return None if moment is None else clock.until(moment)
    if number < _YEAR:
        return number
    if number < 1e9:  # decades from now, or a moment before 2001
        return None
    return clock.until(number if number < 1e11 else number / 1000)


@lru_cache(64)  # the answers of one second share their Date
def _date(text: str | None) -> float | None:
    return retry_after(text, None, 0.0)


def _moment(text: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 or HTTP date."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return retry_after(text, None, 0.0)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None) -> float | None:
    match = _NUMBER.match(text) if text else None
    return float(match[1]) if match else None


def _members(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each member of a structured list as its head and its parameters, all bare text."""
    for member in _MEMBER.findall(text):
        head, *rest = _PART.findall(member) or [""]
        pairs = (part.partition("=") for part in rest)
        yield head.strip(), {key.strip().lower(): value.strip() for key, _, value in pairs}
