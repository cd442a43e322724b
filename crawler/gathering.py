"""What a report says of a run's records, gathered in one pass over them.

Decides what is counted and which records are kept as examples. Must not know files, state.db or HTML. Invariant: memory
is bounded however many records come: examples, hosts and moments are; what goes beyond is counted together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappush, heapreplace
from typing import Any

from crawler.examples import LONGEST, Example, example_of
from crawler.histogram import Histogram, bucket_of
from crawler.known import CHANGES

TOP = 20  # slowest and largest
EXAMPLES = 5  # of a reason
CHANGED = 50  # examples of each change
_HOSTS = 50_000  # counted one by one; those seen later together
_REASONS = 1_000  # a server may make up statuses
_SECONDS = 3_600  # counted one by one: a longer run has a progress.jsonl that tells enough


class Reason:
    """What ended for one reason: how many, and the first of them."""

    __slots__ = ("count", "examples", "outcome")

    def __init__(self, outcome: str) -> None:
        self.outcome = outcome
        self.count = 0
        self.examples: list[Example] = []

    def __repr__(self) -> str:
        return f"<Reason of {self.count} {self.outcome}>"


class Host:
    """What ended at one host. `first` and `last` are when requests began, ISO 8601."""

    __slots__ = ("bytes", "failed", "fetched", "first", "last", "latency", "skipped")

    def __init__(self) -> None:
        self.fetched = self.failed = self.skipped = self.bytes = 0
        self.first: str | None = None
        self.last: str | None = None
        self.latency = Histogram()

    def __repr__(self) -> str:
        return f"<Host of {self.fetched} fetched, {self.failed} failed, {self.skipped} skipped>"

    @property
    def done(self) -> int:
        """All ends."""
        return self.fetched + self.failed + self.skipped


class Gathered:
    """One pass over the records of a run."""

    def __init__(self) -> None:
        self.fetched = self.failed = self.skipped = self.bytes = self.attempts = self.warned = 0
        self.latency = Histogram()
        self.ttfb = Histogram()
        self.statuses: dict[int, int] = {}
        self.reasons: dict[str, Reason] = {}
        self.hosts: dict[str, Host] = {}
        self.others = Host()  # beyond _HOSTS
        self.changes: dict[str, int] = {}
        self.changed: dict[str, list[str]] = {}
        self.warnings: list[tuple[str, str]] = []  # URL, what it is warned of
        self.first: str | None = None
        self.last: str | None = None
        self.seconds: dict[str, list[int]] | None = {}  # by when requests began: done, failed, bytes
        self._slowest: list[tuple[float, int, Example]] = []
        self._largest: list[tuple[float, int, Example]] = []
        self._origins: dict[str, Host] = {}
        self._number = 0

    def __repr__(self) -> str:
        return f"<Gathered {self.fetched} fetched, {self.failed} failed, {self.skipped} skipped>"

    @property
    def done(self) -> int:
        """All ends."""
        return self.fetched + self.failed + self.skipped

    @property
    def slowest(self) -> list[Example]:
        """The slowest first."""
        return [example for _, _, example in sorted(self._slowest, key=lambda item: (-item[0], -item[1]))]

    @property
    def largest(self) -> list[Example]:
        """The largest first."""
        return [example for _, _, example in sorted(self._largest, key=lambda item: (-item[0], -item[1]))]

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one record; keys that are missing count as null."""
        self._number -= 1  # of equals the first stays
        get = record.get
        url, outcome, size = get("url") or "", get("outcome"), get("bytes") or 0
        host = self._host(url)
        host.bytes += size
        self.bytes += size
        self.attempts += get("attempts") or 0
        if outcome == "fetched":
            self.fetched += 1
            host.fetched += 1
        elif outcome == "failed":
            self.failed += 1
            host.failed += 1
        else:
            self.skipped += 1
            host.skipped += 1
        status = get("status")
        if status is not None:
            self.statuses[status] = self.statuses.get(status, 0) + 1
        if get("reason") is not None:
            self._reason(record)
        if get("started_at"):
            self._moment(record["started_at"], host, outcome, size)
        self._times(record, host, size)
        if get("change") is not None:
            self._change(record["change"], url)
        if get("warning"):
            self._warn(url, record["warning"])

    def _times(self, record: Mapping[str, Any], host: Host, size: int) -> None:
        elapsed = record.get("elapsed_ms")
        if elapsed:
            total, first = elapsed.get("total"), elapsed.get("ttfb")
            if total is not None:
                bucket = bucket_of(total)
                self.latency.put(bucket, total)
                host.latency.put(bucket, total)
                if len(self._slowest) < TOP or total > self._slowest[0][0]:
                    self._keep(self._slowest, total, record)
            if first is not None:
                self.ttfb.add(first)
        if size and (len(self._largest) < TOP or size > self._largest[0][0]):
            self._keep(self._largest, size, record)

    def _keep(self, heap: list[tuple[float, int, Example]], value: float, record: Mapping[str, Any]) -> None:
        item = (value, self._number, example_of(record))
        if len(heap) < TOP:
            heappush(heap, item)
        else:
            heapreplace(heap, item)

    def _moment(self, started: str, host: Host, outcome: str | None, size: int) -> None:
        if host.first is None or started < host.first:
            host.first = started
            if self.first is None or started < self.first:
                self.first = started
        if host.last is None or started > host.last:
            host.last = started
            if self.last is None or started > self.last:
                self.last = started
        if self.seconds is None:
            return
        counts = self.seconds.get(started[:19])
        if counts is None:
            counts = self.seconds[started[:19]] = [0, 0, 0]
            if len(self.seconds) > _SECONDS:
                self.seconds = None
        counts[0] += 1
        counts[1] += outcome == "failed"
        counts[2] += size

    def _host(self, url: str) -> Host:
        end = url.find("/", 8)  # behind the scheme: records hold canonical URLs
        origin = url[:end] if end > 0 else url
        host = self._origins.get(origin)
        if host is None:
            name = host_of(url)
            host = self.hosts.get(name)
            if host is None:
                if len(self.hosts) >= _HOSTS:
                    return self.others
                host = self.hosts[name] = Host()
            if len(self._origins) < 2 * _HOSTS:
                self._origins[origin[:LONGEST]] = host
        return host

    def _reason(self, record: Mapping[str, Any]) -> None:
        slug = record["reason"]
        reason = self.reasons.get(slug)
        if reason is None:
            if len(self.reasons) >= _REASONS:
                slug = "(other reasons)"
            reason = self.reasons.setdefault(slug, Reason(record.get("outcome") or ""))
        reason.count += 1
        if len(reason.examples) < EXAMPLES:
            reason.examples.append(example_of(record))

    def _change(self, change: str, url: str) -> None:
        if change not in CHANGES:
            return
        self.changes[change] = self.changes.get(change, 0) + 1
        kept = self.changed.setdefault(change, [])
        if len(kept) < CHANGED:
            kept.append(url[:LONGEST])

    def _warn(self, url: str, warning: str) -> None:
        self.warned += 1
        if len(self.warnings) < EXAMPLES:
            self.warnings.append((url[:LONGEST], warning[:LONGEST]))


def gather(records: Iterable[Mapping[str, Any]]) -> Gathered:
    """All that a report says of these records."""
    gathered = Gathered()
    for record in records:
        gathered.add(record)
    return gathered


def host_of(url: str) -> str:
    """The hostname of a canonical URL, without port; "" where there is none."""
    scheme, found, rest = url.partition("://")
    if not found or not scheme.isalnum():
        return ""
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    name, colon, port = authority.rpartition(":")
    return (name if colon and (port.isdigit() or not port) else authority)[:253]
