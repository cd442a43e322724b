"""Plots as inline SVG: areas over time, bars of a histogram, and the bar of a table's row.

Decides scales, ticks and shapes: numbers in, markup out. Must not know what is counted, nor colours (classes name what
a shape means, the page's style colours it). Invariant: whatever the numbers are, all shapes stand within the picture,
and what it shows is told by its <title> and <desc> too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, isfinite, log10
from typing import NamedTuple

from crawler.tags import Markup, join, tag

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 24  # pixels around the plot
_TIMES = (
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    180,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
)  # seconds


class Series(NamedTuple):
    """One quantity over time: `values[n]` holds from `edges[n]` to `edges[n + 1]`."""

    kind: str  # its class
    edges: Sequence[float]
    values: Sequence[float]


class Words(NamedTuple):
    """What a plot is called, what it shows in a sentence or two, and how a value of its axis is written."""

    id: str
    title: str
    description: str
    value: Callable[[float], str]


class Frame(NamedTuple):
    """A picture of `width` by `height` pixels over `least` to `most` of x and 0 to `top` of y."""

    width: int
    height: int
    least: float
    most: float
    top: float

    def x(self, value: float) -> float:
        """Where it stands, within the plot."""
        share = (value - self.least) / ((self.most - self.least) or 1.0)
        return round(_LEFT + min(1.0, max(0.0, share)) * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """Where it stands, within the plot."""
        share = min(1.0, max(0.0, value / (self.top or 1.0)))
        return round(self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM), 1)


def ticks(most: float, count: int = 4, base: int = 10) -> list[float]:
    """Round numbers from 0 up to the first that is not below `most`, about `count` steps; of bytes with base 1024."""
    if not isfinite(most) or most < 1e-9:
        return [0.0, 1.0]
    step = _step(most / count, base)
    return [n * step for n in range(ceil(most / step - 1e-9) + 1)]


def _step(least: float, base: int) -> float:
    if base == 10:
        power = 10.0 ** floor(log10(least))
        return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= least * 0.999)
    unit = 1.0
    while least >= unit * base:
        unit *= base
    return next(n * unit for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, base) if n * unit >= least * 0.999)


def time_ticks(most: float, count: int = 6) -> list[float]:
    """Round times in seconds from 0 to at most `most`, about `count` of them."""
    least = most / count
    step = next((time for time in _TIMES if time >= least), 86400 * max(1, ceil(least / 86400)))
    return [float(n * step) for n in range(floor(most / step + 1e-9) + 1)] if most > 0 else [0.0]


def areas(words: Words, series: Sequence[Series], width: int, height: int, base: int = 10) -> Markup:
    """Stepped areas over seconds, one in front of the other: those behind are given first."""
    most = max((one.edges[-1] for one in series if len(one.edges)), default=1.0)
    scale = ticks(max((value for one in series for value in one.values), default=0.0), base=base)
    frame = Frame(width, height, 0.0, most, scale[-1])
    times = time_ticks(most, max(2, width // 90))
    return _picture(
        words,
        frame,
        _rules(frame, scale, words.value),
        [_under(frame, seconds, _time(seconds, times)) for seconds in times],
        [tag("path", d=_stepped(frame, one), class_=f"area {one.kind}") for one in series if one.values],
    )


def log_ticks(least: float, most: float, count: int) -> list[tuple[float, float]]:
    """Round numbers (1, 2, 5 by powers of ten) between two positive ones, at most about `count`, each with where it
    stands on a logarithmic scale: 0 is `least`, 1 is `most`.
    """
    if not 0 < least < most:
        return []
    powers = range(floor(log10(least)), ceil(log10(most)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [n * 10.0**power for power in powers for n in steps if least <= n * 10.0**power <= most]
        if len(found) <= count:
            break
    found = found[:: max(1, ceil(len(found) / count))]
    return [(value, (log10(value) - log10(least)) / (log10(most) - log10(least))) for value in found]


def bars(words: Words, edges: Sequence[float], values: Sequence[int], width: int, height: int) -> Markup:
    """A histogram; `values[n]` counts what is between `edges[n]` and `edges[n + 1]`, each the same multiple of the one
    before.

    Raises ValueError where there is no edge more than values.
    """
    if len(edges) != len(values) + 1:
        raise ValueError(f"{len(values)} bars have {len(edges)} edges")
    scale = ticks(max(values, default=0))
    frame = Frame(width, height, 0.0, len(values), scale[-1])
    shapes = [_bar(frame, n, value, words, edges) for n, value in enumerate(values) if value]
    round_ones = log_ticks(edges[0], edges[-1], max(3, width // 70))
    under = [_under(frame, at * len(values), words.value(value)) for value, at in round_ones]
    return _picture(words, frame, _rules(frame, scale, lambda value: f"{value:,.0f}"), under, shapes)


def share(part: float, whole: float, kind: str) -> Markup:
    """The bar of a table's row, which stretches with its cell; hidden from readers, who have the number beside it."""
    width = round(min(100.0, max(0.0, 100 * part / whole)), 2) if whole > 0 else 0.0
    seen = max(width, 0.6) if part > 0 else 0.0  # one of a million is there, too
    bar = tag("rect", width=seen, height=8, class_=f"area {kind}")
    return tag("svg", bar, viewBox="0 0 100 8", preserveAspectRatio="none", class_="share", aria_hidden="true")


def _picture(words: Words, frame: Frame, *layers: Sequence[Markup]) -> Markup:
    ids = f"{words.id}-title", f"{words.id}-desc"
    return tag(
        "svg",
        tag("title", words.title, id=ids[0]),
        tag("desc", words.description, id=ids[1]),
        join(*layers),
        viewBox=f"0 0 {frame.width} {frame.height}",
        class_="plot",
        role="img",
        aria_labelledby=ids[0],
        aria_describedby=ids[1],
    )


def _rules(frame: Frame, scale: Sequence[float], text: Callable[[float], str]) -> list[Markup]:
    """Lines across, each with its number at the left."""
    found = []
    for n, value in enumerate(scale):
        y = frame.y(value)
        kind = "rule" if n else "rule base"
        found.append(tag("line", x1=_LEFT, x2=frame.width - _RIGHT, y1=y, y2=y, class_=kind))
        found.append(tag("text", text(value), x=_LEFT - 8, y=y + 4, class_="tick left"))
    return found


def _under(frame: Frame, at: float, text: str) -> Markup:
    """A word under the plot, which does not leave the picture."""
    x, half = frame.x(at), len(text) * 3.4
    return tag("text", text, x=round(min(max(x, half), frame.width - half), 1), y=frame.height - 7, class_="tick under")


def _bar(frame: Frame, n: int, value: int, words: Words, edges: Sequence[float]) -> Markup:
    left, right, top = frame.x(n), frame.x(n + 1), frame.y(value)
    top = min(top, frame.y(0) - 1)  # one among a million is seen, too
    said = f"{words.value(edges[n])} to {words.value(edges[n + 1])}: {value:,}"
    size = {"width": round(max(0.5, right - left - 1), 1), "height": round(frame.y(0) - top, 1)}
    return tag("rect", tag("title", said), x=left, y=top, class_="area total", **size)


def _stepped(frame: Frame, one: Series) -> str:
    """The outline of a stepped area; steps that stand at the same height are one."""
    parts = [f"M{frame.x(one.edges[0])} {frame.y(0)}"]
    for n, value in enumerate(one.values):
        parts.append(f"V{frame.y(value)}H{frame.x(one.edges[n + 1])}")
    return "".join((*parts, f"V{frame.y(0)}Z"))


def _time(seconds: float, times: Sequence[float]) -> str:
    """A moment in the unit that fits its neighbours: 0, 20s, 5m, 1h30m, 2d."""
    if not seconds:
        return "0"
    step = times[1] - times[0]
    if step < 60 and times[-1] < 600:
        return f"{seconds:.0f}s"
    if step < 60:
        return f"{seconds // 60:.0f}m{seconds % 60:02.0f}s"
    if step < 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days}d{hours:02d}h" if days and hours else f"{days}d" if days else f"{hours}h"
