"""What is counted about a run: ends by outcome, reason, status and host, bytes, latency; and the picture of a moment.

Decides numbers only. Must not know where they are shown; `now` is given. Invariant: a Tally counts committed ends
alone and travels in the checkpoint with them, so that it is right after any kill.
"""

from __future__ import annotations

from collections import deque
from math import ceil, log
from typing import Any, NamedTuple

import orjson

from crawler.model import Record

_HOSTS = 1_000  # counted one by one, the rest together: a tally of 41 KB goes into each commit where they are so many
OTHER_HOSTS = "(other hosts)"
_STEP = log(1.1)  # latency buckets are 10 % wide, so a percentile is within 5 %


class Snapshot(NamedTuple):
    """One run at one moment: what progress, status, summary and tests read alike. Times in seconds, sizes in bytes."""

    job: str
    run: str
    state: str  # running | draining | finished | stopped
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


class Histogram:
    """Counts of milliseconds in logarithmic buckets."""

    __slots__ = ("buckets", "maximum")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.maximum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram of {sum(self.buckets.values())}, median {self.percentile(50)} ms, max {self.maximum} ms>"

    def add(self, milliseconds: float) -> None:
        """Count one value."""
        bucket = ceil(log(milliseconds) / _STEP) if milliseconds > 0.01 else -48
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        if milliseconds > self.maximum:
            self.maximum = milliseconds

    def percentile(self, percent: float) -> float | None:
        """The value that `percent` of all do not exceed, within 5 %; None while nothing was counted."""
        total = sum(self.buckets.values())
        if not total:
            return None
        rank, seen, bucket = percent / 100 * total, 0, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                break
        return round(min(float(1.1 ** (bucket - 0.5)), self.maximum), 2)

    def percentiles(self) -> dict[str, float | None]:
        """p50, p90, p95, p99 and max, in milliseconds."""
        named = {f"p{percent}": self.percentile(percent) for percent in (50, 90, 95, 99)}
        return {**named, "max": round(self.maximum, 2) if self.buckets else None}


# What a Tally keeps as it stands; the histograms travel as pairs, since keys of JSON are text.
_COUNTS = (
    *("attempts", "bytes", "failed", "fetched", "retries", "skipped"),
    *("first_started", "last_started", "hosts", "reasons", "statuses"),
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
        self.reasons: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.hosts: dict[str, list[int]] = {}  # host -> fetched, failed or skipped, bytes
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

    def add(self, record: Record, host: str) -> None:
        """Count one end, under `host`."""
        if record.outcome == "fetched":
            self.fetched += 1
        elif record.outcome == "failed":
            self.failed += 1
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
        counts[0 if record.outcome == "fetched" else 1] += 1
        counts[2] += size

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
            counts = self.hosts.setdefault(host, [0, 0, 0])
        return counts


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
