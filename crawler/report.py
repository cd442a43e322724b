"""How a run went: summary.json for programs, a few lines for people.

Does: word counts and write the summary. Must not count. Invariant: summary.json is complete or absent, so that its
presence is the sign of a whole run; its hosts add up to its outcomes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from crawler.durable import replace
from crawler.errors import ExitCode, StorageError
from crawler.progress import duration, size
from crawler.tally import OTHER_HOSTS, Snapshot, Tally
from crawler.urls import printable

_TOP_HOSTS = 100
_TOP_REASONS = 8
NO_HOST = "(no host)"  # inputs that are no URL


@dataclass(frozen=True)
class Summary:
    """summary.json; times in ISO 8601 and seconds, sizes in bytes, latencies in milliseconds, rate in ends per second.

    `inputs` is a lower bound when `importing`: the run was stopped before all sources were read. `hosts` holds the
    hundred with the most ends, and the others together.
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
    hosts: dict[str, dict[str, int]]
    warnings: list[str]


def summarize(tally: Tally, last: Snapshot, started: float, code: ExitCode, warnings: tuple[str, ...] = ()) -> Summary:
    """Put the numbers of a run together; `started` in seconds since the epoch."""
    return Summary(
        job=last.job,
        run=last.run,
        state=last.state,
        exit_code=int(code),
        exit=code.name.lower(),
        started=_iso(started),
        ended=_iso(last.at),
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
    median, most = summary.latency_ms["p50"], summary.latency_ms["p95"]
    if median is not None and most is not None:
        lines.append(f"  latency: median {_ms(median)}, 95% within {_ms(most)}")
    lines += [f"  warning: {warning}" for warning in summary.warnings]
    lines.append(f"  results: {printable(str(run_folder), 4000)}")
    if summary.state == "stopped":
        lines.append(f"  stopped before the end: {_left(summary)}; run it again to go on")
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


def _top(hosts: dict[str, list[int]]) -> dict[str, dict[str, int]]:
    """The hosts with the most ends, and what remains in one row, so that the rows add up."""
    rest = list(hosts.get(OTHER_HOSTS, (0, 0, 0)))
    named = [(name or NO_HOST, counts) for name, counts in hosts.items() if name != OTHER_HOSTS]
    named.sort(key=lambda item: (-item[1][0] - item[1][1], item[0]))
    for _, counts in named[_TOP_HOSTS:]:
        rest = [have + more for have, more in zip(rest, counts, strict=True)]
    rows = named[:_TOP_HOSTS] + ([(OTHER_HOSTS, rest)] if any(rest) else [])
    return {name: {"fetched": fetched, "other": other, "bytes": size_} for name, (fetched, other, size_) in rows}


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"


def _iso(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
