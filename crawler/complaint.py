"""What a quiet run says when it failed: one screen that tells what, how much, where, and what to do next.

Does: word a summary, with an example of each reason from the run's records: the last ones of records.jsonl, else the
first ones of what there is. Must not count or decide.
Invariant: no more than SCREEN lines, each printable, and no wider than WIDTH but for paths; what cannot be read is left
out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from crawler.errors import CrawlerError
from crawler.folders import JobFolder
from crawler.progress import duration, size
from crawler.reasonglobs import SKIPPING
from crawler.report import Summary
from crawler.urls import printable

SCREEN = 24  # lines
WIDTH = 200  # characters
_LONGEST = 4000  # of a path or a command, which must be whole
_RECORDS = ("records.jsonl", "records.jsonl.zst", "records.csv", "records")
_WHOLE = ("run.log: ", "records", "  crawler r")
_REASONS = 4
_HOSTS = 4
_TAIL = 4 * 1024 * 1024  # bytes of records that are looked through for examples,
_FIRST = 50_000  # of other forms so many records, which takes half a second


def complaint(summary: Summary, run_folder: Path, source: str | None) -> list[str]:
    """The lines. `source` is the job as the words of a command name it, None where none can."""
    outcomes = summary.outcomes
    counts = ", ".join(f"{count:,} {name}" for name, count in outcomes.items() if count or name != "skipped")
    lines = [f"crawler: {summary.job} {_how(summary)} (exit {summary.exit_code}, {summary.exit})"]
    lines += [f"  {because}" for because in summary.failed_because[:_REASONS]]
    lines += [f"  {warning}" for warning in summary.warnings[:3]]
    lines.append(f"  run {summary.run}, {duration(summary.seconds)}: {counts}; {size(summary.bytes)}")
    if reasons := _failing(summary):
        lines += ["why, with an example each:", *_reasons(reasons, _records(run_folder, summary.run))]
    if hosts := _hosts(summary):
        lines.append(f"hosts that failed most: {hosts}")
    for name in ("run.log", *_RECORDS):
        if (run_folder / name).exists():
            lines.append(f"{name}: {run_folder / name}")
    if source is not None:
        lines += ["next:", f"  {_next(summary, source, reasons)}"]
    return [printable(line, _LONGEST if line.startswith(_WHOLE) else WIDTH) for line in lines[:SCREEN]]


def _how(summary: Summary) -> str:
    if summary.exit == "failed":
        return "ended, but too many failed" if summary.outcomes["failed"] else "ended, but not all is done"
    if summary.exit == "no_room":
        return "was stopped: there is no room"
    return f"was stopped by {summary.stopped_by}" if summary.stopped_by else "was stopped before its end"


def _failing(summary: Summary) -> list[tuple[str, int]]:
    """What failed by reason, the most first."""
    return [(slug, count) for slug, count in summary.reasons.items() if slug not in SKIPPING]


def _reasons(reasons: list[tuple[str, int]], records: Iterator[Mapping[str, Any]]) -> list[str]:
    shown, rest = reasons[:_REASONS], reasons[_REASONS:]
    examples = _examples(records, {slug for slug, _ in shown})
    lines = []
    for slug, count in shown:
        lines.append(f"  {count:,} {slug}")
        if slug in examples:
            url, error = examples[slug]
            lines.append(f"    {printable(url, 110)}" + (f": {error}" if error else ""))
    if rest:
        lines.append(f"  {sum(count for _, count in rest):,} for {len(rest)} other reasons")
    return lines


def _examples(records: Iterator[Mapping[str, Any]], wanted: set[str]) -> dict[str, tuple[str, str]]:
    """A URL and error by reason, of the first of these that failed so."""
    found: dict[str, tuple[str, str]] = {}
    for record in records:
        try:
            reason = record["reason"]
            if reason in wanted and reason not in found and record["outcome"] == "failed":
                found[reason] = str(record["url"]), str(record["error"] or "")
        except (TypeError, KeyError):
            continue
        if len(found) == len(wanted):
            break
    return found


def _records(run_folder: Path, run: str) -> Iterator[Mapping[str, Any]]:
    """Those that are looked through for examples."""
    plain = run_folder / "records.jsonl"
    return _last(plain) if plain.exists() else _first(run_folder, run)


def _first(run_folder: Path, run: str) -> Iterator[Mapping[str, Any]]:
    """The first records of a run that has other forms than plain lines; what cannot be read ends them."""
    from crawler.runrecords import records_of  # of a failure in a run that has them

    job = run_folder.parent.parent
    try:
        yield from islice(records_of(JobFolder(job.parent, job.name), run).objects, _FIRST)
    except (CrawlerError, OSError):
        return


def _last(path: Path) -> Iterator[Mapping[str, Any]]:
    """The last records in lines, the very last first."""
    for line in reversed(_tail(path)):
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            continue


def _tail(path: Path) -> list[bytes]:
    """The last whole lines of a file."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - _TAIL)
            file.seek(start)
            lines = file.read(_TAIL).splitlines()
    except OSError:
        return []
    return lines[1:] if start else lines


def _hosts(summary: Summary) -> str:
    failed = [(name, int(counts.get("failed", 0))) for name, counts in summary.hosts.items()]
    ordered = sorted(((name, count) for name, count in failed if count), key=lambda item: (-item[1], item[0]))
    told = [f"{printable(name, 60)} {count:,}" for name, count in ordered[:_HOSTS]]
    return ", ".join([*told, *(["…"] if len(ordered) > _HOSTS else [])])


def _next(summary: Summary, source: str, reasons: list[tuple[str, int]]) -> str:
    """The command that helps most."""
    if summary.state != "finished" or not reasons:
        return f"crawler run {source}"
    only = f"--reason {reasons[0][0]} " if len(reasons) > 1 else ""
    return f"crawler retry {only}{source}"
