"""How a run went: summary.json for programs, a few lines for people.

Does: word counts and write the summary. Must not count. Invariant: summary.json is complete or absent, so that its
presence is the sign of a whole run; its hosts add up to its outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from crawler.durable import replace
from crawler.errors import ExitCode, StorageError
from crawler.parcels import Counts
from crawler.progress import duration, size
from crawler.stamps import stamp
from crawler.tally import NO_HOST, OTHER_HOSTS, HostCounts, Snapshot, Tally
from crawler.urls import printable

_TOP_HOSTS = 100
_TOP_REASONS = 8
_TOP_TRAPS = 5


@dataclass(frozen=True)
class Summary:
    """summary.json; times in ISO 8601 and seconds, sizes in bytes, latencies in milliseconds, rate in ends per second.

    `failed_because` says what was more than `run.max_failed` allows, `stopped_by` which deadline came.
    `inputs` is a lower bound when `importing`: the run was stopped before all sources were read. `hosts` holds the
    hundred with the most ends, and the others together; there `other` is what failed or was skipped, `blocked_s` how
    long the host was left alone. `changes` counts what was new, changed, unchanged or gone against the run before. Of a
    crawl `links` tells what became of the links found, and `traps` which patterns of URLs were stopped, each with how
    many of its URLs were left.
    """

    job: str
    run: str
    state: str
    exit_code: int
    exit: str
    started: str
    ended: str
    first_request: str | None
    last_request: str | None
    seconds: float
    inputs: int
    importing: bool
    outcomes: dict[str, int]
    reasons: dict[str, int]
    statuses: dict[str, int]
    attempts: int
    retries: int
    bytes: int
    rate: float
    latency_ms: dict[str, float | None]
    ttfb_ms: dict[str, float | None]
    hosts: dict[str, dict[str, int | float]]
    warnings: list[str]
    uploads: dict[str, int] | None
    links: dict[str, int]
    traps: list[dict[str, str | int]]
    changes: dict[str, int]
    failed_because: list[str] = field(default_factory=list)
    stopped_by: str | None = None


def summarize(
    tally: Tally,
    last: Snapshot,
    started: float,
    code: ExitCode,
    warnings: tuple[str, ...] = (),
    uploads: Counts | None = None,
    traps: Sequence[tuple[str, int]] = (),
) -> Summary:
    """Put the numbers of a run together; `started` in seconds since the epoch."""
    return Summary(
        job=last.job,
        run=last.run,
        state=last.state,
        exit_code=int(code),
        exit=code.name.lower(),
        started=stamp(started),
        ended=stamp(last.at),
        first_request=tally.first_started,
        last_request=tally.last_started,
        seconds=round(last.elapsed, 3),
        inputs=last.known,
        importing=last.importing,
        outcomes={"fetched": tally.fetched, "failed": tally.failed, "skipped": tally.skipped},
        reasons=dict(sorted(tally.reasons.items(), key=lambda item: (-item[1], item[0]))),
        statuses=dict(sorted(tally.statuses.items())),
        attempts=tally.attempts,
        retries=tally.retries,
        bytes=tally.bytes,
        rate=round(tally.done / last.elapsed, 2) if last.elapsed > 0 else 0.0,
        latency_ms=tally.latency.percentiles(),
        ttfb_ms=tally.ttfb.percentiles(),
        hosts=_top(tally.hosts),
        warnings=list(warnings),
        uploads=uploads._asdict() if uploads is not None else None,
        links=dict(sorted(tally.links.items())),
        traps=[{"pattern": printable(pattern), "urls": urls} for pattern, urls in traps],
        changes=tally.changed(),
    )


def write_summary(run_folder: Path, summary: Summary) -> None:
    """Write summary.json. Raises StorageError."""
    path = run_folder / "summary.json"
    try:
        replace(path, orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error}; the results themselves are safe") from error


def final_lines(summary: Summary, run_folder: Path) -> list[str]:
    """What a person reads when the run ends: two to five lines."""
    outcomes = summary.outcomes
    parts = [f"{outcomes['fetched']:,} fetched", f"{outcomes['failed']:,} failed"]
    if outcomes["skipped"]:
        parts.append(f"{outcomes['skipped']:,} skipped")
    speed = f" ({summary.rate:,.1f}/s)" if summary.rate else ""
    lines = [f"{summary.job}: {', '.join(parts)}; {size(summary.bytes)} in {duration(summary.seconds)}{speed}"]
    if summary.reasons:
        lines.append(f"  why: {_why(summary.reasons)}")
    lines += [f"  failed: {because}" for because in summary.failed_because]
    if summary.links:
        lines.append(f"  links: {_links(summary.links)}")
    lines += [f"  stopped {trap['urls']:,} URLs of pattern {trap['pattern']}" for trap in summary.traps[:_TOP_TRAPS]]
    if (more := len(summary.traps) - _TOP_TRAPS) > 0:
        lines.append(f"  and URLs of {more:,} more patterns, see summary.json")
    median, most = summary.latency_ms["p50"], summary.latency_ms["p95"]
    if median is not None and most is not None:
        lines.append(f"  latency: median {_ms(median)}, 95% within {_ms(most)}")
    if summary.uploads is not None:
        lines.append(f"  uploaded: {summary.uploads['done']:,} files, {size(summary.uploads['bytes'])}")
    lines += [f"  warning: {printable(warning, 4000)}" for warning in summary.warnings]
    lines.append(f"  results: {printable(str(run_folder), 4000)}")
    if summary.state == "stopped":
        by = f"by {summary.stopped_by}" if summary.stopped_by else "before the end"
        lines.append(f"  stopped {by}: {_left(summary)}; run it again to go on")
    return lines


def _why(reasons: dict[str, int]) -> str:
    shown = [f"{slug} {count:,}" for slug, count in list(reasons.items())[:_TOP_REASONS]]
    rest = list(reasons.values())[_TOP_REASONS:]
    if rest:
        shown.append(f"{len(rest)} other reasons {sum(rest):,}")
    return ", ".join(shown)


def _left(summary: Summary) -> str:
    left = max(0, summary.inputs - sum(summary.outcomes.values()))
    if summary.importing:
        return f"at least {left:,} inputs to go, the lists are not read to their end"
    return f"{left:,} input{'' if left == 1 else 's'} to go"


def _top(hosts: dict[str, list[int]]) -> dict[str, dict[str, int | float]]:
    """The hosts with the most ends, and what remains in one row, so that the rows add up."""
    rest = HostCounts(*hosts.get(OTHER_HOSTS, (0, 0, 0, 0, 0)))
    named = [(name or NO_HOST, HostCounts(*counts)) for name, counts in hosts.items() if name != OTHER_HOSTS]
    named.sort(key=lambda item: (-item[1].done, item[0]))
    for _, counts in named[_TOP_HOSTS:]:
        rest = HostCounts(*(have + more for have, more in zip(rest, counts, strict=True)))
    rows = named[:_TOP_HOSTS] + ([(OTHER_HOSTS, rest)] if any(rest) else [])
    return {name: _host(counts) for name, counts in rows}


def _host(counts: HostCounts) -> dict[str, int | float]:
    return {
        "fetched": counts.fetched,
        "other": counts.failed + counts.skipped,
        "bytes": counts.bytes,
        "failed": counts.failed,
        "skipped": counts.skipped,
        "blocked_s": counts.blocked / 1000,
    }


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"


def _links(links: dict[str, int]) -> str:
    """What became of the links of a crawl."""
    told = [f"{links.get('links', 0):,} found", f"{links.get('pages', 0):,} pages"]
    if links.get("requisites"):
        told.append(f"{links['requisites']:,} requisites")
    others = {why: count for why, count in links.items() if why not in ("links", "pages", "requisites", "known")}
    left = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join([*told, *(f"{count:,} {why}" for why, count in left[:_TOP_REASONS])])
