"""report.html as text: a report's numbers as headings, tables, plots and lists.

Decides the order of the sections and how the page as a whole is built. Must not know files, clocks or runs. Invariant:
one page that needs nothing else; all is made by `tag`, so that whatever the web said stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crawler.progress import duration, size
from crawler.reportdata import Report, outcome
from crawler.reportlists import changes, crawled, failures, heaviest, left_out, settings, warned
from crawler.reportstyle import POLICY, SCRIPT, STYLE
from crawler.reporttables import hosts, latency, milliseconds, outcomes, over_time, speed
from crawler.tags import Markup, join, raw, tag
from crawler.urls import printable


class _Section(NamedTuple):
    """A part of the page with its heading; one without content is left out."""

    id: str
    title: str
    content: Markup | None


def page(report: Report) -> str:
    """The whole document."""
    sections = [section for section in _sections(report) if section.content]
    name = f"{printable(report.facts.job)} · run {printable(report.facts.run)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", name),
        tag("style", raw(STYLE)),
    )
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        _header(report),
        tag("main", _opening(report, sections), *map(_section, sections), id="results", tabindex=-1),
        tag("footer", tag("p", f"Made by crawler report at {_moment(report.facts.made)}. Times are UTC.")),
        tag("script", raw(SCRIPT)),
    )
    return "<!doctype html>\n" + tag("html", head, "\n", body, lang="en") + "\n"


def _sections(report: Report) -> Sequence[_Section]:
    return (
        _Section("time", "Over time", over_time(report)),
        _Section("outcomes", "Outcomes", outcomes(report)),
        _Section("failures", "Failures by reason", failures(report)),
        _Section("latency", "Latency", latency(report)),
        _Section("hosts", "Hosts", hosts(report)),
        _Section("changes", "Changes since the last run", changes(report)),
        _Section("heaviest", "Slowest and largest", heaviest(report)),
        _Section("skipped", "Left out on purpose", left_out(report)),
        _Section("crawl", "Crawl", crawled(report)),
        _Section("warnings", "Warnings and uploads", warned(report)),
        _Section("job", "Job", settings(report)),
    )


def _section(section: _Section) -> Markup:
    heading = tag("h2", section.title, id=f"{section.id}-h")
    return join("\n", tag("section", heading, section.content, id=section.id, aria_labelledby=f"{section.id}-h"))


def _header(report: Report) -> Markup:
    facts = report.facts
    when = [tag("span", "Run ", tag("span", printable(facts.run), class_="mono"))]
    when += [tag("span", "started ", _time(facts.started))] if facts.started else []
    when += [tag("span", "ended ", _time(facts.ended))] if facts.ended else []
    return tag(
        "header",
        tag("p", "Report of a run", class_="kind"),
        tag("h1", printable(facts.job)),
        tag("p", *when, class_="when"),
        tag("button", "Dark colours", type="button", class_="theme", hidden=True),
    )


def _opening(report: Report, sections: Sequence[_Section]) -> Markup:
    facts = report.facts
    fine = facts.state == "finished" and not facts.exit_code
    kind = "" if fine and not report.failed else " warn" if fine or facts.state == "running" else " bad"
    links = (tag("li", tag("a", section.title, href=f"#{section.id}")) for section in sections)
    note = tag("p", f"{facts.note[:1].upper()}{facts.note[1:]}.", class_="note") if facts.note else None
    return join(
        tag("p", outcome(report), class_=f"outcome{kind}"),
        note,
        _figures(report),
        tag("nav", tag("ul", list(links)), aria_label="Sections"),
    )


def _figures(report: Report) -> Markup:
    seconds, retries, left = report.seconds, report.facts.retries, report.left
    middle, most = report.latency.percentile(50), report.latency.percentile(95)
    rows = (
        ("Fetched", f"{report.fetched:,}", _part(report.fetched, report.done), ""),
        ("Failed", f"{report.failed:,}", _part(report.failed, report.done), "bad" if report.failed else ""),
        ("Skipped", f"{report.skipped:,}", f"{left:,} to go" if left else _part(report.skipped, report.done), ""),
        ("Requests sent", f"{report.attempts:,}", f"{retries:,} of them again" if retries else "none again", ""),
        ("Bytes", size(report.bytes), f"{size(report.bytes / report.fetched)} each" if report.fetched else "–", ""),
        ("Time at work", duration(seconds) if seconds else "–", "without pauses between starts", ""),
        ("Rate", f"{speed(report.done / seconds)}/s" if seconds else "–", _bytes_rate(report), ""),
        ("Latency, median", milliseconds(middle), f"95 % within {milliseconds(most)}" if most is not None else "–", ""),
    )
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", value, class_=kind or None), tag("dd", more, class_="more"))
            for name, value, more, kind in rows
        ],
        class_="figures",
    )


def _bytes_rate(report: Report) -> str:
    return f"{size(report.bytes / report.seconds)}/s" if report.seconds else "–"


def _part(part: int, whole: int) -> str:
    """A share in percent, which never says none or all where that is not so."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    text = f"{percent:.1f}".removesuffix(".0")
    if part and text == "0":
        text = "< 0.1"
    elif part < whole and text == "100":
        text = "> 99.9"
    return f"{text} % of {whole:,}"


def _time(text: str) -> Markup:
    return tag("time", _moment(text), datetime=text)


def _moment(text: str) -> str:
    return text.replace("T", " ").replace("Z", " UTC")
