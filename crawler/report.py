"""How a run went: summary.json for programs, a few lines for people.

Does: word counts and write the summary. Must not count. Invariant: summary.json is complete or absent, so that its
presence is the sign of a whole run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from crawler.durable import replace
from crawler.errors import ExitCode
from crawler.progress import duration, size
from crawler.tally import OTHER_HOSTS, Snapshot, Tally

_TOP_HOSTS = 100


@dataclass(frozen=True)
class Summary:
    """summary.json; times in ISO 8601 and seconds, sizes in bytes, latencies in milliseconds."""

    job: str
    run: str
    state: str
    exit_code: int
    exit: str
    started: str
    ended: str
    seconds: float
    inputs: int
    outcomes: dict[str, int]
    reasons: dict[str, int]
    statuses: dict[str, int]
    attempts: int
    retries: int
    bytes: int
    rate: float
    latency_ms: dict[str, float | None]
    hosts: dict[str, dict[str, int]]


def summarize(tally: Tally, last: Snapshot, started: float, code: ExitCode) -> Summary:
    """Put the numbers of a run together."""
    done = tally.done
    hosts = sorted(tally.hosts.items(), key=lambda item: (item[0] == OTHER_HOSTS, -item[1][0] - item[1][1]))
    percentiles: dict[str, float | None] = {f"p{p}": tally.latency.percentile(p) for p in (50, 90, 95, 99)}
    return Summary(
        job=last.job,
        run=last.run,
        state=last.state,
        exit_code=int(code),
        exit=code.name.lower(),
        started=_iso(started),
        ended=_iso(last.at),
        seconds=round(last.elapsed, 3),
        inputs=last.known,
        outcomes={"fetched": tally.fetched, "failed": tally.failed, "skipped": tally.skipped},
        reasons=dict(sorted(tally.reasons.items(), key=lambda item: -item[1])),
        statuses=dict(sorted(tally.statuses.items())),
        attempts=tally.attempts,
        retries=tally.retries,
        bytes=tally.bytes,
        rate=round(done / last.elapsed, 2) if last.elapsed > 0 else 0.0,
        latency_ms={**percentiles, "max": round(tally.latency.maximum, 2) if done else None},
        hosts={name: {"fetched": ok, "other": bad, "bytes": bytes_} for name, (ok, bad, bytes_) in hosts[:_TOP_HOSTS]},
    )


def write_summary(run_folder: Path, summary: Summary) -> None:
    """Write summary.json. Raises OSError."""
    replace(run_folder / "summary.json", orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2) + b"\n")


def final_lines(summary: Summary, run_folder: Path) -> list[str]:
    """What a person reads when the run ends."""
    outcomes = summary.outcomes
    parts = [f"{outcomes['fetched']:,} fetched", f"{outcomes['failed']:,} failed"]
    if outcomes["skipped"]:
        parts.append(f"{outcomes['skipped']:,} skipped")
    speed = f"{summary.rate:,.1f}/s" if summary.rate else ""
    lines = [f"{summary.job}: {', '.join(parts)}; {size(summary.bytes)} in {duration(summary.seconds)} ({speed})"]
    if summary.reasons:
        shown = [f"{slug} {count:,}" for slug, count in list(summary.reasons.items())[:8]]
        lines.append(f"  why: {', '.join(shown)}")
    if summary.latency_ms["p50"] is not None:
        lines.append(
            f"  latency: median {summary.latency_ms['p50']:.0f} ms, 95% within {summary.latency_ms['p95']:.0f} ms"
        )
    lines.append(f"  results: {run_folder}")
    if summary.state == "stopped":
        left = summary.inputs - sum(outcomes.values())
        lines.append(f"  stopped before the end, {left:,} or more inputs to go; run it again to go on")
    return lines


def to_json(summary: Summary) -> dict[str, Any]:
    """The summary as plain data."""
    return asdict(summary)


def _iso(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
