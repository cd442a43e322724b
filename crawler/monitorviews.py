"""What the monitor says of jobs, runs, hosts and records: the shapes of its JSON.

Decides how a row of the checkpoint, a moment of a run and a record become them. Must not know files, sockets or who
asks. Invariant: every key of a shape is always there, None where it is not known; times are seconds since the epoch,
durations seconds, sizes bytes; a text is cut to what a page can show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from crawler.tally import NO_HOST, HostCounts, Tally

_LONGEST = 2000  # characters of a text
_HOSTS = 100


class RunSeen(NamedTuple):
    """A run as the checkpoint has it, its tally read; `state` may be killed."""

    id: str
    started: float
    ended: float | None
    state: str
    exit_code: int | None
    elapsed: float
    tally: Tally


@dataclass(frozen=True, slots=True)
class RunView:
    """One run in a list. `report`: there is a report.html; `there`: its folder is."""

    run: str
    state: str
    started: float
    ended: float | None
    exit_code: int | None
    elapsed: float
    fetched: int
    failed: int
    skipped: int
    bytes: int
    retries: int
    rate: float
    report: bool
    there: bool


@dataclass(frozen=True, slots=True)
class Oldest:
    """A request in flight."""

    url: str
    age: float
    phase: str


@dataclass(frozen=True, slots=True)
class HostView:
    """What is known of a host: counts of its ends, and what it does now where the run is asked."""

    host: str
    fetched: int = 0
    failed: int = 0
    skipped: int = 0
    bytes: int = 0
    blocked: float = 0.0  # so far
    waiting: int | None = None
    in_flight: int | None = None
    blocked_for: float | None = None
    rate: float | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job by its last (or the named) run. `live`: these are numbers of the process itself, of this moment.

    `state`: running, draining, paused, finished, stopped, killed, abandoned, never, or unreadable, which `error` tells.
    """

    job: str
    run: str | None = None
    state: str = "never"
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    elapsed: float = 0.0
    known: int = 0
    importing: bool = False
    waiting: int = 0
    in_flight: int = 0
    fetched: int = 0
    failed: int = 0
    skipped: int = 0
    retries: int = 0
    bytes: int = 0
    rate: float = 0.0
    byte_rate: float = 0.0
    eta: float | None = None
    eta_host: str | None = None
    hosts: int | None = None
    hosts_waiting: int | None = None
    at: float | None = None
    live: bool = False
    waits: str | None = None
    oldest: tuple[Oldest, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, float | None] = field(default_factory=dict)
    last_success: float | None = None
    error: str | None = None


_OF_SNAPSHOT = {
    **dict.fromkeys(("known", "waiting", "in_flight", "fetched", "failed", "skipped", "retries", "bytes"), (int,)),
    **dict.fromkeys(("hosts", "hosts_waiting"), (int,)),
    **dict.fromkeys(("elapsed", "rate", "byte_rate", "eta", "at"), (int, float)),
    "eta_host": (str,),
}


def job_view(name: str, row: RunSeen, waiting: int, last_success: float | None) -> JobView:
    """A job by what its checkpoint says of a run, of which `waiting` requests are left."""
    tally = row.tally
    return JobView(
        job=name,
        run=row.id,
        state=row.state,
        started=row.started,
        ended=row.ended,
        exit_code=row.exit_code,
        elapsed=row.elapsed,
        known=tally.done + waiting,
        waiting=waiting,
        fetched=tally.fetched,
        failed=tally.failed,
        skipped=tally.skipped,
        retries=tally.retries,
        bytes=tally.bytes,
        rate=mean_rate(row),
        reasons=dict(sorted(tally.reasons.items(), key=lambda item: (-item[1], item[0]))),
        statuses=dict(sorted(tally.statuses.items())),
        changes=tally.changed() if tally.changes else {},
        latency_ms=tally.latency.percentiles(),
        last_success=last_success,
    )


def with_snapshot(view: JobView, said: Mapping[str, Any], *, live: bool) -> JobView:
    """The same job with the numbers of a moment, as `progress.json_line` writes one down; what is no number is left.

    A moment of another run changes nothing.
    """
    if said.get("run") != view.run:
        return view
    known: dict[str, Any] = {}
    for key, types in _OF_SNAPSHOT.items():
        value = said.get(key)
        if isinstance(value, types) and not isinstance(value, bool):
            known[key] = value
    known["importing"] = said.get("importing") is True
    if live:
        known["state"] = "paused" if said.get("paused") is True else str(said.get("state") or view.state)
    return replace(view, live=live, **known)


def with_state(view: JobView, answer: Mapping[str, Any]) -> JobView:
    """The same job with what its process answered to `state`."""
    snapshot = answer.get("snapshot")
    found = with_snapshot(view, snapshot if isinstance(snapshot, dict) else {}, live=True)
    waits = answer.get("waits")
    oldest = [
        Oldest(cut(str(one.get("url"))), _number(one.get("age")) or 0.0, cut(str(one.get("phase") or "")))
        for one in _objects(answer.get("oldest"))[:20]
    ]
    return replace(found, waits=cut(waits) if isinstance(waits, str) else None, oldest=tuple(oldest))


def host_views(tally: Tally, answer: Mapping[str, Any]) -> list[HostView]:
    """The hosts with the most ends, and those that the process tells of now."""
    counted = ((name or NO_HOST, HostCounts(*counts)) for name, counts in tally.hosts.items())
    views = {
        name: HostView(cut(name), one.fetched, one.failed, one.skipped, one.bytes, one.blocked / 1000)
        for name, one in sorted(counted, key=lambda item: (-item[1].done, item[0]))
    }
    now = {str(one.get("host")): one for one in _objects(answer.get("hosts"))[:_HOSTS]}
    for name, one in now.items():
        views[name] = replace(
            views.get(name, HostView(cut(name))),
            waiting=whole(one.get("waiting")),
            in_flight=whole(one.get("in_flight")),
            blocked_for=_number(one.get("blocked_for")),
            rate=_number(one.get("rate")),
            why=cut(str(one["why"])) if one.get("why") else None,
        )
    told = [view for name, view in views.items() if name in now]
    return told + [view for name, view in views.items() if name not in now][: 2 * _HOSTS - len(told)]


def run_view(row: RunSeen, *, report: bool, there: bool) -> RunView:
    """A run in a list."""
    tally = row.tally
    return RunView(
        run=row.id,
        state=row.state,
        started=row.started,
        ended=row.ended,
        exit_code=row.exit_code,
        elapsed=row.elapsed,
        fetched=tally.fetched,
        failed=tally.failed,
        skipped=tally.skipped,
        bytes=tally.bytes,
        retries=tally.retries,
        rate=mean_rate(row),
        report=report,
        there=there,
    )


def mean_rate(row: RunSeen) -> float:
    """Ends a second over the whole run."""
    return round(row.tally.done / row.elapsed, 2) if row.elapsed > 0 else 0.0


def cut(text: str) -> str:
    """As much of a text as a page shows."""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def whole(value: Any) -> int | None:
    """A number that counts; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
