"""The sections of a report that are numbers: plots over time, outcomes, latency, the table of hosts.

Decides which numbers stand in them and how they are written. Must not know files or clocks. Invariant: what a bar or a
plot shows stands beside it as a number, or in its description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

from crawler.curve import Stretch
from crawler.histogram import Histogram
from crawler.hostrows import HostRow
from crawler.progress import duration, size
from crawler.reportdata import ReasonRow, Report
from crawler.svg import Series, Words, areas, bars, share
from crawler.tags import Markup, join, tag
from crawler.urls import printable

_ROWS = 20  # of statuses and reasons
_WIDE, _NARROW = (1080, 200), (360, 180)  # pixels, for a desk and for a phone
_BARS = {"wide": 60, "narrow": 30}


def milliseconds(value: float | None) -> str:
    """A latency for people."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} ms".replace(".0 ", " ") if value >= 1 else f"{value:.2g} ms"
    return f"{value:,.0f} ms" if value < 10_000 else duration(value / 1000)


def over_time(report: Report) -> Markup | None:
    """Requests and bytes per second, from the beginning to the end of the time at work."""
    stretches = report.stretches
    if not stretches:
        return None
    spans = [one.end - one.start for one in stretches]
    edges = [stretches[0].start, *(one.end for one in stretches)]
    done = [one.done / span for one, span in zip(stretches, spans, strict=True)]
    failed = [one.failed / span for one, span in zip(stretches, spans, strict=True)]
    moved = [one.bytes / span for one, span in zip(stretches, spans, strict=True)]
    long = f"Over {duration(stretches[-1].end)} at work"
    busiest = f"the busiest stretch had {max(done):,.1f} a second"
    worst = _worst(stretches)
    requests = Words("rate", "Requests per second", f"{long}; {busiest}; {worst}.", lambda value: f"{value:,g}")
    volume = Words("bytes", "Bytes per second", f"{long}; at most {size(max(moved))} a second.", _round_size)
    behind, front = Series("total", edges, done), Series("failed", edges, failed)
    shown = [behind, front] if any(failed) else [behind]
    keys = [_key("total", "all that ended"), _key("failed", "of it failed")] if any(failed) else []
    return join(
        _figure(requests, keys, lambda words, at: areas(words, shown, *at)),
        _figure(volume, [], lambda words, at: areas(words, [Series("bytes", edges, moved)], *at, base=1024)),
        tag("p", "From left to right: time at work, without the pauses between stop and start.", class_="note"),
    )


def outcomes(report: Report) -> Markup | None:
    """Statuses and reasons, each with its share."""
    if not report.done:
        return None
    statuses = [(_status(status), count, "failed" if status >= 400 else "total") for status, count in report.statuses]
    reasons = [(_reason(row), row.ends, "failed" if row.outcome == "failed" else "total") for row in report.reasons]
    return tag(
        "div",
        _shares("Status of the last answer", "Status", statuses, report.done),
        _shares("Why inputs were not fetched", "Reason", reasons, report.done),
        class_="two",
    )


def latency(report: Report) -> Markup | None:
    """Percentiles, and how latencies are spread."""
    if not report.latency.buckets:
        return None
    names = [*report.latency.percentiles()]
    heads = [tag("td"), *(tag("th", name, scope="col") for name in names)]
    rows = [_percentiles("Whole answer", report.latency), _percentiles("First byte", report.ttfb)]
    counted = sum(report.latency.buckets.values())
    table = tag(
        "table",
        tag("caption", f"Of the last attempt of {counted:,} inputs; within 5 %"),
        tag("thead", tag("tr", heads)),
        tag("tbody", rows),
    )
    middle = milliseconds(report.latency.percentile(50))
    said = f"Logarithmic buckets from left to right; the median is {middle}."
    words = Words("spread", "Inputs by the time of the whole answer", said, milliseconds)
    return join(
        _scroll("Table of latencies", table), _figure(words, [], lambda given, at: _spread(report.latency, given, at))
    )


def hosts(report: Report) -> Markup | None:
    """A row for each of those with the most ends; a script may sort them."""
    if not report.hosts:
        return None
    rows = [row for row in report.hosts if row.name]
    rest = [row for row in report.hosts if not row.name]
    more = report.host_count - len(rows)
    said = f"The {len(rows):,} with the most inputs" if rest else f"{len(rows):,} host{'' if len(rows) == 1 else 's'}"
    names = ("Host", "Done", "Failed", "Skipped", "Rate", "Blocked", "Median", "95 %", "Bytes")
    heads = [
        tag(
            "th",
            name,
            scope="col",
            class_="l" if not n else None,
            data_first="up" if not n else None,
            aria_sort="descending" if n == 1 else None,
        )
        for n, name in enumerate(names)
    ]
    foot = [_host(row, f"{max(more, 1):,} other hosts") for row in rest]
    table = tag(
        "table",
        tag("caption", said),
        tag("thead", tag("tr", heads)),
        tag("tbody", [_host(row, printable(row.name)) for row in rows]),
        tag("tfoot", foot) if foot else None,
        class_="hosts sortable",
    )
    units = (
        "Rate in requests a second, while there were any. Blocked: how long it was left alone, by its wish or ours. "
    )
    return join(
        tag("p", units, "Median and 95 %: of the time of whole answers.", class_="note"),
        _scroll("Table of hosts", table),
    )


def _host(row: HostRow, name: str) -> Markup:
    cells = (
        (row.done, f"{row.done:,}"),
        (row.failed, f"{row.failed:,}"),
        (row.skipped, f"{row.skipped:,}"),
        (row.rate, speed(row.rate) if row.rate is not None else "–"),
        (row.blocked, duration(row.blocked) if row.blocked else "0" if row.blocked is not None else "–"),
        (row.median, milliseconds(row.median)),
        (row.p95, milliseconds(row.p95)),
        (row.bytes, size(row.bytes)),
    )
    return tag(
        "tr",
        tag("th", name, scope="row", class_="l mono", data_v=name),
        [
            tag("td", text, data_v=value, class_="n bad" if n == 1 and value else "n" if value else "n zero")
            for n, (value, text) in enumerate(cells)
        ],
    )


def _shares(caption: str, head: str, rows: Sequence[tuple[str, int, str]], whole: int) -> Markup:
    """A table of counts with bars; beyond so many rows the others together."""
    shown, rest = list(rows[:_ROWS]), rows[_ROWS:]
    if rest:
        shown.append((f"{len(rest):,} others", sum(count for _, count, _ in rest), "total"))
    if not shown:
        return tag("div", tag("h3", caption), tag("p", "None.", class_="note"))
    most = max(count for _, count, _ in shown)
    body = [
        tag(
            "tr",
            tag("th", name, scope="row", class_="l"),
            tag("td", f"{count:,}", class_="n"),
            tag("td", f"{100 * count / whole:.1f} %", class_="n"),
            tag("td", share(count, most, kind), class_="bar"),
        )
        for name, count, kind in shown
    ]
    heads = tag("th", head, scope="col", class_="l"), tag("th", "Inputs", scope="col"), tag("th", "Share", scope="col")
    # The bars repeat the numbers: their column has no name to read out.
    row = tag("tr", *heads, tag("td", class_="bar"))
    return tag("div", tag("table", tag("caption", caption), tag("thead", row), tag("tbody", body)))


def _percentiles(name: str, histogram: Histogram) -> Markup:
    values = histogram.percentiles().values()
    return tag(
        "tr",
        tag("th", name, scope="row", class_="l"),
        [tag("td", milliseconds(value), class_="n") for value in values],
    )


def _spread(histogram: Histogram, words: Words, at: tuple[int, int]) -> Markup:
    bounds = histogram.bounds(_BARS["wide" if at == _WIDE else "narrow"])
    edges = [bounds[0][0], *(upper for _, upper, _ in bounds)]
    return bars(words, edges, [count for _, _, count in bounds], *at)


def _figure(words: Words, keys: Sequence[Markup], draw: Callable[[Words, tuple[int, int]], Markup]) -> Markup:
    """A plot in both widths, of which the style shows one."""
    return tag(
        "figure",
        tag("figcaption", words.title, list(keys)),
        _of_width("wide", draw(words._replace(id=f"{words.id}-wide"), _WIDE)),
        _of_width("narrow", draw(words._replace(id=f"{words.id}-narrow"), _NARROW)),
    )


def _of_width(width: str, plot: Markup) -> Markup:
    return tag("div", plot, class_=width)


def _key(kind: str, text: str) -> Markup:
    swatch = tag(
        "svg", tag("rect", width=11, height=11, rx=2, class_=f"area {kind}"), class_="swatch", aria_hidden="true"
    )
    return tag("span", swatch, text, class_="key")


def _scroll(name: str, table: Markup) -> Markup:
    """A table that may be wider than a phone: it scrolls in its own place, by keys too."""
    return tag("div", table, class_="scroll", role="region", aria_label=name, tabindex=0)


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _reason(row: ReasonRow) -> str:
    slug = printable(row.slug, 60)
    return slug if row.outcome == "failed" else f"{slug} ({printable(row.outcome, 20) or 'unknown'})"


def _round_size(value: float) -> str:
    return size(value).replace(".0 ", " ")


def speed(rate: float) -> str:
    """How many a second, to two or three digits."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def _worst(stretches: Sequence[Stretch]) -> str:
    failed = sum(one.failed for one in stretches)
    if not failed:
        return "nothing failed"
    worst = max(stretches, key=lambda one: one.failed / (one.end - one.start))
    return f"{failed:,} failed, most of them around {duration(worst.start)}"
