"""The sections of a report that are lists: failures with examples, changes, slowest and largest, warnings, the job.

Decides how an example is written. Must not know files or clocks. Invariant: text from the web is cut and stays text;
a link leads to http or https, carries no credentials and tells its target nothing of us.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from crawler.examples import Example
from crawler.known import CHANGES
from crawler.progress import size
from crawler.reportdata import ReasonRow, Report
from crawler.reporttables import milliseconds
from crawler.tags import Markup, join, tag
from crawler.urls import printable

# A canonical URL without credentials, or one that stands as a URL may (RFC 3986 2).
_LINK = re.compile(r"""https?://[^\s/?#@"<>\\^`{|}]+(?:[/?#][^\s"<>\\^`{|}]*)?\Z""", re.IGNORECASE)
_LONGEST_LINK = 900  # characters; what was kept of a longer URL may be cut
_URL, _ERROR, _ID = 200, 300, 80  # characters shown
_REASONS = 40  # with examples
_ROWS = 50  # traps and warnings
_CHANGED = {
    "new": "New",
    "changed": "Changed",
    "unchanged": "Unchanged",
    "gone": "Gone",
}


def failures(report: Report) -> Markup | None:
    """What failed, by its reason, with the first of each."""
    rows = [row for row in report.reasons if row.outcome == "failed"]
    if not rows:
        return None
    return join(*(_reason(row) for row in rows[:_REASONS]), _more(rows))


def left_out(report: Report) -> Markup | None:
    """What was skipped, by its reason, with the first of each."""
    rows = [row for row in report.reasons if row.outcome != "failed"]
    return join(*(_reason(row) for row in rows[:_REASONS]), _more(rows)) if rows else None


def changes(report: Report) -> Markup | None:
    """What is new, changed, unchanged and gone against the run before."""
    if not report.changes:
        return None
    previous = report.facts.previous
    since = tag("p", "Against run ", tag("span", printable(previous), class_="mono"), ".") if previous else None
    counts = tag(
        "dl",
        [tag("div", tag("dt", _CHANGED[name]), tag("dd", f"{report.changes.get(name, 0):,}")) for name in CHANGES],
        class_="figures",
    )
    unseen = report.facts.forgotten
    said = f"{unseen:,} of those that are gone were not met any more; they have no record in this run."
    lists = (_changed(name, report.changed.get(name, ()), report.changes.get(name, 0)) for name in CHANGES)
    return join(since, counts, tag("p", said, class_="note") if unseen else None, *lists)


def heaviest(report: Report) -> Markup | None:
    """The slowest and the largest answers."""
    if not report.slowest and not report.largest:
        return None
    slow = [(one, milliseconds(one.milliseconds)) for one in report.slowest]
    large = [(one, size(one.bytes or 0)) for one in report.largest]
    return tag(
        "div",
        _ranked("Slowest answers (last attempt)", "Time", slow),
        _ranked("Largest bodies (decoded)", "Size", large),
        class_="two",
    )


def crawled(report: Report) -> Markup | None:
    """What became of the links of a crawl, and which patterns of URLs were stopped."""
    parts = []
    if report.facts.links:
        rows = sorted(report.facts.links.items(), key=lambda item: (-item[1], item[0]))
        parts.append(_counted("What became of the links found", ("Links", "Number"), rows))
    if report.facts.traps:
        rows = list(report.facts.traps[:_ROWS])
        parts.append(_counted("Patterns that were stopped as traps", ("Pattern", "URLs left"), rows))
    return tag("div", *parts, class_="two") if parts else None


def warned(report: Report) -> Markup | None:
    """Warnings of the run and of its records; what was uploaded."""
    facts = report.facts
    said = [tag("li", tag("span", printable(text, _ERROR), class_="e")) for text in facts.warnings[:_ROWS]]
    found = [tag("li", _url(url), tag("span", printable(text, _ERROR), class_="e")) for url, text in report.warned_of]
    parts = [tag("ul", said, class_="examples")] if said else []
    if found:
        count = tag("span", f"{report.warned:,}", class_="count")
        parts += [tag("h3", "Answers with a warning", count), tag("ul", found, class_="examples")]
    if facts.uploads:
        rows = [(name, count) for name, count in facts.uploads.items() if name != "bytes"]
        caption = f"Files to upload; {size(facts.uploads.get('bytes', 0))} arrived"
        parts.append(tag("div", _counted(caption, ("Files", "Number"), rows), class_="two"))
    return join(*parts) if parts else None


def settings(report: Report) -> Markup | None:
    """The job, where it differs from the defaults."""
    text = report.facts.settings
    return tag("details", tag("summary", "Settings that differ from the defaults"), tag("pre", text)) if text else None


def _reason(row: ReasonRow) -> Markup:
    """A reason with its examples; an error that all of them share is said once."""
    count = tag("span", f"{row.ends:,}", class_="count")
    errors = {one.error for one in row.examples}
    shared = errors.pop() if len(errors) == 1 else None
    return join(
        tag("h3", printable(row.slug, 60), count),
        tag("p", printable(shared, _ERROR), class_="e") if shared else None,
        tag("ul", [_example(one, row.slug, shared) for one in row.examples], class_="examples"),
    )


def _example(one: Example, slug: str, shared: str | None) -> Markup:
    told = one.status is None or slug == f"status-{one.status}"
    facts = [] if told else [f"status {one.status}"]
    facts.append(f"{one.attempts:,} attempt{'' if one.attempts == 1 else 's'}" if one.attempts else "never sent")
    facts += [milliseconds(one.milliseconds)] if one.milliseconds is not None else []
    facts += [f"request {printable(one.request_id, _ID)}"] if one.request_id else []
    return tag(
        "li",
        _url(one.url),
        tag("span", [tag("span", fact) for fact in facts], class_="f"),
        tag("span", printable(one.error, _ERROR), class_="e") if one.error and one.error != shared else None,
    )


def _more(rows: Sequence[ReasonRow]) -> Markup | None:
    rest = rows[_REASONS:]
    said = f"And {sum(row.ends for row in rest):,} more, for {len(rest):,} other reasons."
    return tag("p", said, class_="note") if rest else None


def _changed(name: str, urls: Sequence[str], count: int) -> Markup | None:
    if not urls:
        return None
    more = f", the first {len(urls)} of {count:,}" if count > len(urls) else f", {count:,}"
    return tag(
        "details",
        tag("summary", f"{_CHANGED[name]}{more}"),
        tag("ul", [tag("li", _url(url)) for url in urls], class_="examples bare"),
    )


def _ranked(caption: str, head: str, rows: Sequence[tuple[Example, str]]) -> Markup:
    heads = tag("th", head, scope="col"), tag("th", "URL", scope="col", class_="url")
    body = [tag("tr", tag("td", text, class_="n"), tag("td", _link(one.url), class_="url")) for one, text in rows]
    if not body:
        return tag("div", tag("h3", caption), tag("p", "None.", class_="note"))
    return tag("div", tag("table", tag("caption", caption), tag("thead", tag("tr", heads)), tag("tbody", body)))


def _counted(caption: str, heads: tuple[str, str], rows: Sequence[tuple[str, int]]) -> Markup:
    body = [
        tag("tr", tag("th", printable(name, _URL), scope="row", class_="url"), tag("td", f"{count:,}", class_="n"))
        for name, count in rows
    ]
    head = tag("tr", tag("th", heads[0], scope="col", class_="l"), tag("th", heads[1], scope="col"))
    return tag("div", tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body)))


def _url(url: str) -> Markup:
    return tag("span", _link(url), class_="u")


def _link(url: str) -> Markup:
    """A URL, which leads there where it may; what has no text is named so."""
    text = printable(url, _URL) or "(no URL)"
    if len(url) > _LONGEST_LINK or not _LINK.match(url) or printable(url, len(url)) != url:
        return join(text)
    return tag("a", text, href=url, rel="noreferrer noopener")
