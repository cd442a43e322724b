"""What a report says: the facts of a run, what was gathered from its records, and how it went over time, put together.

Decides which rows stand in it, and the sentence of how the run ended. Must not know files, state.db or HTML. Invariant:
the rows of the hosts add up to the ends; all that is missing in runs of earlier versions is None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crawler.curve import Stretch, of_seconds, thinned
from crawler.examples import Example
from crawler.gathering import Gathered
from crawler.histogram import Histogram
from crawler.history import changes_told
from crawler.hostrows import HostRow, host_rows

_STRETCHES = 240
_ENOUGH = 6  # lines of progress.jsonl that make a curve


class Facts(NamedTuple):
    """What is known of a run beside its records. Times in ISO 8601 UTC, `seconds` at work; None is not known.

    `state` is running | finished | stopped | killed | abandoned; `blocked` seconds by host; `note` says why its records
    are not all that were made; `forgotten` counts URLs of earlier runs that this one did not see any more.
    """

    job: str
    run: str
    state: str
    made: str
    note: str | None = None
    started: str | None = None
    ended: str | None = None
    seconds: float | None = None
    exit_code: int | None = None
    inputs: int | None = None
    importing: bool = False
    retries: int | None = None
    uploads: Mapping[str, int] | None = None
    warnings: Sequence[str] = ()
    links: Mapping[str, int] | None = None
    traps: Sequence[tuple[str, int]] = ()
    blocked: Mapping[str, float] | None = None
    previous: str | None = None
    forgotten: int = 0
    settings: str = ""


class ReasonRow(NamedTuple):
    """What ended for one reason."""

    slug: str
    outcome: str
    ends: int
    examples: tuple[Example, ...]


class Report(NamedTuple):
    """All that a report shows."""

    facts: Facts
    fetched: int
    failed: int
    skipped: int
    bytes: int
    attempts: int
    statuses: Sequence[tuple[int, int]]
    reasons: Sequence[ReasonRow]
    latency: Histogram
    ttfb: Histogram
    stretches: Sequence[Stretch]
    hosts: Sequence[HostRow]
    host_count: int
    slowest: Sequence[Example]
    largest: Sequence[Example]
    changes: Mapping[str, int]
    changed: Mapping[str, Sequence[str]]
    warned: int
    warned_of: Sequence[tuple[str, str]]

    @property
    def done(self) -> int:
        """All ends."""
        return self.fetched + self.failed + self.skipped

    @property
    def seconds(self) -> float:
        """At work; where nobody told, as long as requests began."""
        return self.facts.seconds or (self.stretches[-1].end if self.stretches else 0.0)

    @property
    def left(self) -> int | None:
        """Inputs that have not come to their end."""
        return None if self.facts.inputs is None else max(0, self.facts.inputs - self.done)


def put_together(facts: Facts, gathered: Gathered, progress: Sequence[Stretch]) -> Report:
    """The report of a run. Its `progress` is taken where it tells enough, else the moments of the records."""
    enough = len(progress) >= _ENOUGH or not gathered.seconds
    stretches = progress if enough else of_seconds(gathered.seconds or {})
    reasons = [ReasonRow(slug, one.outcome, one.count, tuple(one.examples)) for slug, one in gathered.reasons.items()]
    return Report(
        facts=facts,
        fetched=gathered.fetched,
        failed=gathered.failed,
        skipped=gathered.skipped,
        bytes=gathered.bytes,
        attempts=gathered.attempts,
        statuses=sorted(gathered.statuses.items(), key=lambda item: (-item[1], item[0])),
        reasons=sorted(reasons, key=lambda row: (row.outcome != "failed", -row.ends, row.slug)),
        latency=gathered.latency,
        ttfb=gathered.ttfb,
        stretches=thinned(stretches, _STRETCHES),
        hosts=host_rows(gathered, facts.blocked),
        host_count=len(gathered.hosts),
        slowest=gathered.slowest,
        largest=gathered.largest,
        changes=_changes(gathered, facts.forgotten),
        changed=gathered.changed,
        warned=gathered.warned,
        warned_of=gathered.warnings,
    )


def outcome(report: Report) -> str:
    """How the run ended, in a sentence."""
    facts, done = report.facts, report.done
    left = report.left
    to_go = "" if not left else f"; {'at least ' if facts.importing else ''}{_inputs(left)} to go"
    counted = f"{_inputs(done)} done, {report.failed:,} of them failed" if report.failed else f"{_inputs(done)} done"
    match facts.state:
        case "finished" if report.failed:
            code = f" (exit code {facts.exit_code})" if facts.exit_code is not None else ""
            return f"Finished{code}: {report.failed:,} of {_inputs(done)} failed{_mostly(report)}."
        case "finished":
            skipped = f", {report.skipped:,} left out on purpose" if report.skipped else ""
            return f"Finished well: {report.fetched:,} of {_inputs(done)} fetched, none failed{skipped}."
        case "stopped":
            return f"Stopped before the end: {counted}{to_go}. The next start goes on with it."
        case "killed":
            return f"Killed: its process is gone; {counted}{to_go}. The next start goes on with it."
        case "abandoned":
            return f"Left unfinished, another run was begun instead: {counted}."
        case "running":
            return f"Still running: {counted}{to_go}."
        case _:
            return f"{counted}."


def to_data(report: Report) -> dict[str, Any]:
    """The same for programs; a histogram as its percentiles, its buckets as upper bounds in milliseconds and counts."""
    data = report._asdict()
    data |= {
        "facts": report.facts._asdict(),
        "outcome": outcome(report),
        "latency": _histogram(report.latency),
        "ttfb": _histogram(report.ttfb),
        "statuses": {str(status): count for status, count in report.statuses},
        "reasons": [row._asdict() | {"examples": [one._asdict() for one in row.examples]} for row in report.reasons],
    }
    for key in ("stretches", "hosts", "slowest", "largest"):
        data[key] = [one._asdict() for one in data[key]]
    return data


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {**histogram.percentiles(), "buckets": [(round(upper, 3), n) for _, upper, n in histogram.bounds()]}


def _inputs(count: int) -> str:
    return f"{count:,} input{'' if count == 1 else 's'}"


def _mostly(report: Report) -> str:
    failed = [row for row in report.reasons if row.outcome == "failed"]
    if not failed:
        return ""
    return f", all by {failed[0].slug}" if len(failed) == 1 else f", mostly by {failed[0].slug}"


def _changes(gathered: Gathered, forgotten: int) -> dict[str, int]:
    """Counts in a steady order; none where no record says anything of a change."""
    if not gathered.changes and not forgotten:
        return {}
    return changes_told(gathered.changes, forgotten)
