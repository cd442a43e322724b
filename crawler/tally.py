"""What is counted about a run: ends by outcome, reason, status and host, bytes, latency; and the picture of a moment.

Decides numbers only. Must not know where they are shown; `now` is given. Invariant: a Tally counts committed ends
alone (and how long hosts were left alone) and travels in the checkpoint with them, so that it is right after any kill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

import orjson

from crawler.errors import Reason
from crawler.histogram import Histogram
from crawler.history import changes_told
from crawler.known import GONE_STATUSES
from crawler.model import Record

_HOSTS = 1_000  # counted one by one, the rest together: a tally of 41 KB goes into each commit where they are so many
OTHER_HOSTS = "(other hosts)"
NO_HOST = "(no host)"  # inputs that are no URL


class Snapshot(NamedTuple):
    """One run at one moment: what progress, status, summary and tests read alike. Times in seconds, sizes in bytes."""

    job: str
    run: str
    state: str  # running | paused | draining | finished | stopped
    at: float
    elapsed: float
    known: int  # inputs imported so far
    importing: bool
    waiting: int
    in_flight: int
    fetched: int
    failed: int
    skipped: int
    retries: int
    bytes: int
    uploaded: int  # bytes of bodies from files, by this process
    rate: float  # ends per second, lately
    byte_rate: float
    eta: float | None
    eta_host: str | None  # whose own pace sets it; None: our own speed does
    hosts: int
    hosts_waiting: int  # that may not be asked yet
    next_at: float | None  # seconds until the next request may go; None: now
    longest: tuple[str, float] | None  # the oldest request in flight and its age

    @property
    def done(self) -> int:
        """Inputs that came to their end."""
        return self.fetched + self.failed + self.skipped


class HostCounts(NamedTuple):
    """What a Tally counts of a host. `bytes` after decoding; `blocked` in milliseconds: how long it was left alone,
    since it asked for that or failed, by the times that were set.
    """

    fetched: int
    failed: int
    skipped: int
    bytes: int
    blocked: int

    @property
    def done(self) -> int:
        """All ends."""
        return self.fetched + self.failed + self.skipped


# Where they stand in the list that a Tally counts in.
_FETCHED, _FAILED, _SKIPPED, _BYTES, _BLOCKED = range(5)
_AT = {"fetched": _FETCHED, "failed": _FAILED}

# What a Tally keeps as it stands; the histograms travel as pairs, since keys of JSON are text.
_COUNTS = (
    *("attempts", "bytes", "failed", "fetched", "retries", "skipped"),
    *("first_started", "last_started", "hosts", "reasons", "statuses", "failed_seeds", "links", "changes", "forgotten"),
)
_HISTOGRAMS = ("latency", "ttfb")


class Tally:
    """Counts of one run."""

    __slots__ = (*_COUNTS, *_HISTOGRAMS)

    def __init__(self) -> None:
        self.fetched = 0
        self.failed = 0
        self.skipped = 0
        self.retries = 0
        self.attempts = 0
        self.bytes = 0
        self.failed_seeds = 0  # of what failed, what the input itself named
        self.links: dict[str, int] = {}  # of a crawl: what became of the links found, by what or why
        self.reasons: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.changes: dict[str, int] = {}  # against the run before: new, changed, unchanged, gone
        self.forgotten = 0  # URLs that earlier runs knew, and this one did not see any more
        self.hosts: dict[str, list[int]] = {}  # host -> what HostCounts names, in its order
        self.first_started: str | None = None  # ISO 8601 UTC, as in the records, so that text compares as time does
        self.last_started: str | None = None
        self.latency = Histogram()
        self.ttfb = Histogram()

    def __repr__(self) -> str:
        ends = f"{self.fetched} fetched, {self.failed} failed, {self.skipped} skipped"
        return f"<Tally {ends}, {self.bytes} bytes, {len(self.hosts)} hosts>"

    @property
    def done(self) -> int:
        """All ends."""
        return self.fetched + self.failed + self.skipped

    def add(self, record: Record, host: str, change: str | None = None) -> None:
        """Count one end, under `host`; `change` is what its line says of that, where it is known."""
        if record.outcome == "fetched":
            self.fetched += 1
        elif record.outcome == "failed":
            self.failed += 1
            self.failed_seeds += not record.depth
        else:
            self.skipped += 1
        self.attempts += record.attempts
        size = record.bytes or 0
        self.bytes += size
        if record.reason is not None:
            self.reasons[record.reason] = self.reasons.get(record.reason, 0) + 1
        if record.status is not None:
            status = str(record.status)
            self.statuses[status] = self.statuses.get(status, 0) + 1
        if record.elapsed_ms is not None:
            self.latency.add(record.elapsed_ms.total)
            if record.elapsed_ms.ttfb is not None:
                self.ttfb.add(record.elapsed_ms.ttfb)
        if record.started_at is not None:
            self._span(record.started_at)
        counts = self._host(host)
        counts[_AT.get(record.outcome, _SKIPPED)] += 1
        counts[_BYTES] += size
        if change is not None:
            self.changes[change] = self.changes.get(change, 0) + 1

    def take_back(self, record: Mapping[str, Any], host: str) -> None:
        """A record goes, since its request is made again: what `add` counted of its end under `host` counts no more.

        `record` is its line, or what a table has of it. What was really sent stays counted: attempts, retries,
        latency, and when the first and the last began; and so do the links that were found.
        """
        outcome, reason, status = record["outcome"], record.get("reason"), record.get("status")
        name = outcome if outcome in _AT else "skipped"
        setattr(self, name, getattr(self, name) - 1)
        if outcome == "failed" and not record.get("depth"):
            self.failed_seeds -= 1
        size = record.get("bytes") or 0
        self.bytes -= size
        for counts, key in ((self.reasons, reason), (self.statuses, status), (self.changes, record.get("change"))):
            if key is not None:
                _less(counts, str(key))
        of_host = self.hosts.get(host) or self.hosts.get(OTHER_HOSTS)
        if of_host is not None:
            of_host[_AT.get(outcome, _SKIPPED)] -= 1
            of_host[_BYTES] -= size

    def changed(self) -> dict[str, int]:
        """How many URLs are new, changed, unchanged and gone, those among the latter that nothing led to any more."""
        return changes_told(self.changes, self.forgotten)

    @property
    def missed_nothing(self) -> bool:
        """Did nothing fail but what is not there any more."""
        return self.failed == sum(self.reasons.get(slug, 0) for slug in map(Reason.STATUS.slug, GONE_STATUSES))

    def wait(self, host: str, seconds: float) -> None:
        """A host is left alone for so much longer than was known."""
        if 0 < seconds < inf:  # one that is given up waits for nothing
            self._host(host)[_BLOCKED] += round(seconds * 1000)

    def to_json(self) -> bytes:
        """For the checkpoint."""
        data = {name: getattr(self, name) for name in _COUNTS}
        for name in _HISTOGRAMS:
            histogram = getattr(self, name)
            data[name] = [histogram.maximum, list(histogram.buckets.items())]
        return orjson.dumps(data)

    @classmethod
    def from_json(cls, text: bytes) -> Tally:
        """The counts of `to_json`. What an earlier version did not count yet begins at nothing."""
        data: dict[str, Any] = orjson.loads(text)
        tally = cls()
        for name in _COUNTS:
            setattr(tally, name, data.get(name, getattr(tally, name)))
        for name in _HISTOGRAMS:
            histogram = getattr(tally, name)
            histogram.maximum, buckets = data.get(name, (0.0, []))
            histogram.buckets = dict(buckets)
        tally.hosts = {host: _whole(counts, tally) for host, counts in tally.hosts.items()}
        return tally

    def _span(self, started: str) -> None:
        if self.first_started is None or started < self.first_started:
            self.first_started = started
        if self.last_started is None or started > self.last_started:
            self.last_started = started

    def _host(self, host: str) -> list[int]:
        counts = self.hosts.get(host)
        if counts is None:
            if len(self.hosts) >= _HOSTS:
                host = OTHER_HOSTS
            counts = self.hosts.setdefault(host, [0] * len(HostCounts._fields))
        return counts


def _less(counts: dict[str, int], key: str) -> None:
    """One less of it; nothing is left of what nothing is left of."""
    left = counts.pop(key, 0) - 1
    if left > 0:
        counts[key] = left


def _whole(counts: list[int], tally: Tally) -> list[int]:
    """A host's counts, also where an earlier version did not tell what failed from what was skipped: then as failed,
    unless nothing of the run had.
    """
    if len(counts) != 3:
        return counts
    fetched, other, size = counts
    return [fetched, other, 0, size, 0] if tally.failed else [fetched, 0, other, size, 0]


class Speed:
    """Ends and bytes per second over the last ten seconds."""

    def __init__(self, span: float = 10.0) -> None:
        self._span = span
        self._samples: deque[tuple[float, int, int]] = deque()

    def sample(self, now: float, done: int, size: int) -> tuple[float, float]:
        """Note the counts of a moment; returns ends and bytes per second."""
        samples = self._samples
        samples.append((now, done, size))
        while len(samples) > 2 and samples[0][0] < now - self._span:
            samples.popleft()
        then, done_then, size_then = samples[0]
        seconds = now - then
        if seconds <= 0:
            return 0.0, 0.0
        return (done - done_then) / seconds, (size - size_then) / seconds
