"""When cron starts a job: the five fields of a crontab line, or a name such as @daily.

Decides what a schedule means, as the sets of values that match. Must not know crontabs or systemd. Invariant: what is
taken here means the same to the crons of Debian, BSD and Vixie; what these would read as something else than it looks
like (5/10, 22-4) is refused with what was meant. Weekdays are 0 (Sunday) to 6.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NamedTuple

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
REBOOT = "@reboot"
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(r"(\*|[0-9]+|[A-Za-z]+)(?:-([0-9]+|[A-Za-z]+))?(?:/([0-9]+))?\Z", re.ASCII)
_EXAMPLE = "write it like '*/15 * * * *': minute, hour, day of the month, month, weekday"


class Span(NamedTuple):
    """One of the five fields: its values, and the names that some of them have."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    @property
    def all(self) -> range:
        """Every value."""
        return range(self.least, self.most + 1)


MINUTE, HOUR, DAY, MONTH = Span("minute", 0, 59), Span("hour", 0, 23), Span("day", 1, 31), Span("month", 1, 12, MONTHS)
WEEKDAY = Span("weekday", 0, 6, WEEKDAYS)
_SPANS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


class Schedule(NamedTuple):
    """Sorted values of each field. `either`: a day matches by its number or by its weekday, as cron has it where
    neither begins with a star. Of @reboot `text` is all there is.
    """

    text: str
    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    days: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    weekdays: tuple[int, ...] = ()
    either: bool = False


def parse(text: str) -> Schedule:
    """What a schedule means. Raises ValueError: a sentence with the field and what is nearest."""
    said = " ".join(text.split())
    if len(said) > 500:
        raise ValueError("is longer than any schedule")
    if said.startswith("@"):
        return _named(said)
    fields = said.split(" ") if said else []
    if len(fields) != len(_SPANS):
        more = "; cron has no seconds" if len(fields) == 6 else ""
        count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        raise ValueError(f"'{said}' has {count} and not five{more}; {_EXAMPLE}")
    minutes, hours, days, months, weekdays = (_values(field, span) for field, span in zip(fields, _SPANS, strict=True))
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    found = Schedule(said, minutes, hours, days, months, weekdays, either)
    if not either and not any(day <= _DAYS[month - 1] for month in found.months for day in found.days):
        raise ValueError(f"'{said}' never comes: no month named has such a day")
    return found


def _named(said: str) -> Schedule:
    if said == REBOOT:
        return Schedule(REBOOT)
    if said not in NAMED:
        known = [*NAMED, REBOOT]
        near = get_close_matches(said.lower(), known, 1)
        raise ValueError(f"'{said}' is unknown; " + (f"did you mean {near[0]}?" if near else ", ".join(known)))
    return parse(NAMED[said])._replace(text=said)


def _values(field: str, span: Span) -> tuple[int, ...]:
    found = set[int]()
    for item in field.split(","):
        found.update(_item(item, span))
    return tuple(sorted(found))


def _item(item: str, span: Span) -> range | set[int]:
    match = _ITEM.match(item)
    if match is None:
        raise ValueError(f"{span.name}: '{item}' is no value; write 5, 1-5, */15 or a list of these with commas")
    first, last, step = match.groups()
    if step is not None and not 1 <= int(step) <= span.most:
        raise ValueError(f"{span.name}: a step of {step} in '{item}' is not between 1 and {span.most}")
    if first == "*":
        if last is not None:
            raise ValueError(f"{span.name}: '{item}' has a star and a range; write one of them")
        return span.all[:: int(step or 1)]
    low = _value(first, span)
    if last is None:
        if step is not None:  # cron takes it for the first number alone, without a word
            meant = f"{first}-{span.most}/{step}"
            raise ValueError(f"{span.name}: '{item}' has a step, but no range; did you mean {meant}?")
        return {low % 7} if span is WEEKDAY else {low}
    high = _value(last, span)
    if span is WEEKDAY and high == 0 and low > 0:
        raise ValueError(f"weekday: '{item}' runs backwards, as Sunday is 0; did you mean {low}-7?")
    if low > high:
        raise ValueError(
            f"{span.name}: '{item}' runs backwards; did you mean {_range(low, span.most)},{_range(span.least, high)}?"
        )
    values = range(low, high + 1, int(step or 1))
    return {value % 7 for value in values} if span is WEEKDAY else values


def _range(low: int, high: int) -> str:
    return f"{low}-{high}" if low < high else str(low)


def _value(text: str, span: Span) -> int:
    most = 7 if span is WEEKDAY else span.most  # Sunday is 0 and 7
    if text.isdigit():
        if not span.least <= int(text) <= most:
            hint = "; did you mean 0?" if int(text) == span.most + 1 and span.least == 0 else ""
            raise ValueError(f"{span.name}: {text} is not between {span.least} and {most}{hint}")
        return int(text)
    if text.lower() in span.names:
        return span.names.index(text.lower()) + span.least
    near = get_close_matches(text.lower()[:20], span.names, 1, 0.4)
    hint = f"; did you mean {near[0]}?" if near else (f"; {', '.join(span.names)}" if span.names else "")
    raise ValueError(f"{span.name}: '{text}' is no number" + (" or name" if span.names else "") + hint)
