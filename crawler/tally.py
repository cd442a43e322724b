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

_HOSTS = 1_000  # counted one by one; the rest together, so that a tally stays small
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
    rate: float  # ends per second, lately
    byte_rate: float
    eta: float | None
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


class Tally:
    """Counts of one run."""

    __slots__ = (
        "attempts",
        "bytes",
        "failed",
        "fetched",
        "hosts",
        "latency",
        "reasons",
        "retries",
        "skipped",
        "statuses",
    )

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
        self.latency = Histogram()

    @property
    def done(self) -> int:
        """All ends."""
        return self.fetched + self.failed + self.skipped

    def add(self, record: Record, host: str) -> None:
        """Count one end."""
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
        counts = self._host(host)
        counts[0 if record.outcome == "fetched" else 1] += 1
        counts[2] += size

    def to_json(self) -> bytes:
        """For the checkpoint."""
        data = {name: getattr(self, name) for name in self.__slots__ if name != "latency"}
        data["latency"] = [self.latency.maximum, list(self.latency.buckets.items())]
        return orjson.dumps(data)

    @classmethod
    def from_json(cls, text: bytes) -> Tally:
        """The counts of `to_json`."""
        data: dict[str, Any] = orjson.loads(text)
        tally = cls()
        maximum, buckets = data.pop("latency")
        for name, value in data.items():
            setattr(tally, name, value)
        tally.latency.maximum = maximum
        tally.latency.buckets = dict(buckets)
        return tally

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


def eta(waiting: int, rate: float, importing: bool) -> float | None:
    """Seconds until the end at the present rate; None while nobody can know."""
    return waiting / rate if rate > 0 and not importing else None
