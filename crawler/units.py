"""Times, sizes and rates as people write them: "2s", "64MiB", "10/s", "20MiB/s".

Decides what a text with a unit means, as a number in seconds, bytes, per second. Must not know which key it is for.
Invariant: `render_x(parse_x(text))` means the same as `text`; a number without a unit is refused, since nobody can
see which unit was meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_PERIODS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*(?:/\s*([A-Za-z]+)\s*)?\Z", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds of a text such as "2s", "500ms", "5m", "1h", "1d". Raises ValueError."""
    number, unit, per = _split(value)
    if per is not None or unit not in _DURATIONS:
        raise ValueError(f"{value!r} is not a duration; write it like '2s', '500ms', '5m' or '1h'")
    return number * _DURATIONS[unit]


def parse_size(value: object) -> int:
    """Bytes of a text such as "64MiB", "10kB", "512B". Raises ValueError."""
    number, unit, per = _split(value)
    if per is not None or unit not in _SIZES:
        raise ValueError(f"{value!r} is not a size; write it like '64MiB', '10kB' or '512B'")
    return round(number * _SIZES[unit])


def parse_rate(value: object) -> float:
    """Requests per second of a text such as "10/s", "30/min", "1000/h". Raises ValueError."""
    number, unit, per = _split(value)
    if unit or per not in _PERIODS or number <= 0:
        raise ValueError(f"{value!r} is not a rate; write it like '10/s', '30/min' or '1000/h'")
    return number / _PERIODS[per]


def parse_bandwidth(value: object) -> float:
    """Bytes per second of a text such as "20MiB/s". Raises ValueError."""
    number, unit, per = _split(value)
    if unit not in _SIZES or per not in ("s", "sec") or number <= 0:
        raise ValueError(f"{value!r} is not a bandwidth; write it like '20MiB/s' or '500kB/s'")
    return number * _SIZES[unit]


def render_duration(seconds: float) -> str:
    """The shortest text that means so many seconds."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _DURATIONS[unit] == 0:
            return f"{_plain(seconds / _DURATIONS[unit])}{unit}"
    return f"{_plain(seconds * 1000)}ms" if 0 < seconds < 1 else f"{_plain(seconds)}s"


def render_size(size: float) -> str:
    """The shortest text that means so many bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{_plain(size / _SIZES[unit])}{unit}"
    return f"{_plain(size)}B"


def render_rate(rate: float) -> str:
    """A rate per second, minute, hour or day, whichever is a round number."""
    for unit in ("s", "min", "h", "d"):
        number = rate * _PERIODS[unit]
        if abs(number - round(number)) < 1e-9 and round(number) > 0:
            return f"{round(number)}/{unit}"
    return f"{_plain(rate)}/s"


def render_bandwidth(rate: float) -> str:
    """Bytes per second."""
    return f"{render_size(rate)}/s"


def _split(value: object) -> tuple[float, str, str | None]:
    match = _NUMBER.match(value) if isinstance(value, str) and len(value) < 100 else None
    return (float(match[1]), match[2], match[3]) if match else (0.0, "?", None)


def _plain(number: float) -> str:
    # Fifteen digits hide what binary fractions add (0.07 * 1000); Decimal writes them without an exponent.
    return str(int(number)) if number == int(number) else format(Decimal(f"{number:.15g}"), "f")


def _unit(parse: Callable[[object], float], render: Callable[[Any], str], example: str) -> tuple[Any, ...]:
    def read(value: object) -> object:
        # Numbers come from our own defaults and from code; from files only text is let through (see jobfile).
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else parse(value)

    schema = WithJsonSchema({"type": "string", "examples": [example]})
    return BeforeValidator(read), PlainSerializer(render, return_type=str), schema


Duration = Annotated[float, *_unit(parse_duration, render_duration, "30s")]
Size = Annotated[int, *_unit(parse_size, render_size, "64MiB")]
Rate = Annotated[float, *_unit(parse_rate, render_rate, "10/s")]
Bandwidth = Annotated[float, *_unit(parse_bandwidth, render_bandwidth, "20MiB/s")]
