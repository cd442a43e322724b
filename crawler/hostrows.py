"""The hosts of a run as the rows of a table: those with the most ends, and the others together in the last one.

Decides which hosts have a row, and their rates. Must not know how a row looks. Invariant: the rows add up to all ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from crawler.gathering import Gathered, Host
from crawler.tally import NO_HOST

HOSTS = 200  # rows


class HostRow(NamedTuple):
    """One row of the hosts. `rate` in requests per second, `blocked` in seconds, latencies in milliseconds."""

    name: str
    fetched: int
    failed: int
    skipped: int
    bytes: int
    rate: float | None
    blocked: float | None
    median: float | None
    p95: float | None

    @property
    def done(self) -> int:
        """All ends."""
        return self.fetched + self.failed + self.skipped


def host_rows(gathered: Gathered, blocked: Mapping[str, float] | None) -> list[HostRow]:
    """Those with the most ends, then the others together."""
    ranked = sorted(gathered.hosts.items(), key=lambda item: (-item[1].done, item[0]))
    rows = [_row(name or NO_HOST, host, (blocked or {}).get(name)) for name, host in ranked[:HOSTS]]
    rest = [host for _, host in ranked[HOSTS:]]
    if gathered.others.done:
        rest.append(gathered.others)
    if rest:
        together = Host()
        for host in rest:
            _add(together, host)
        named = {name for name, _ in ranked[:HOSTS]}
        waits = None if blocked is None else sum(time for name, time in blocked.items() if name not in named)
        rows.append(_row("", together, waits))
    return rows


def _row(name: str, host: Host, blocked: float | None) -> HostRow:
    latency = host.latency
    counts = host.fetched, host.failed, host.skipped, host.bytes
    return HostRow(name, *counts, _rate(host), blocked, latency.percentile(50), latency.percentile(95))


def _rate(host: Host) -> float | None:
    """Requests per second, while there were any; None where a moment is all there was."""
    if host.first is None or host.last is None:
        return None
    try:
        span = (datetime.fromisoformat(host.last) - datetime.fromisoformat(host.first)).total_seconds()
    except (ValueError, TypeError):
        return None
    return round((host.done - 1) / span, 3) if span >= 1 and host.done > 1 else None


def _add(whole: Host, part: Host) -> None:
    whole.fetched += part.fetched
    whole.failed += part.failed
    whole.skipped += part.skipped
    whole.bytes += part.bytes
    whole.latency.include(part.latency)
    firsts = [each for each in (whole.first, part.first) if each is not None]
    lasts = [each for each in (whole.last, part.last) if each is not None]
    whole.first, whole.last = min(firsts, default=None), max(lasts, default=None)
