"""Which proxy of several the next request takes: in turn, or the same one for the same host; the dead are passed over.

Decides by what failed and worked. Must not know sockets or what a proxy is. `now` is monotonic seconds. Invariant: a
proxy that is out is never given while another one is in; one whose time out is over is tried by one request first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Literal

from crawler.routes import Proxy

FAILURES = 2  # in a row put a proxy out
FIRST, LONGEST = 30.0, 600.0  # seconds out, doubled with each time
_REMEMBERED = 10_000  # hosts


class _Member:
    __slots__ = ("failures", "outs", "probed", "proxy", "until")

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.worked()

    def worked(self) -> None:
        self.failures = 0  # in a row
        self.outs = 0  # how often put out since it last worked
        self.until = float("-inf")  # not given before
        self.probed = False  # a request tries it

    def put_out(self, now: float) -> None:
        self.until = now + min(LONGEST, FIRST * 2.0**self.outs)
        self.outs = min(self.outs + 1, 10)
        self.failures = 0
        self.probed = False


class ProxyPool:
    """Proxies to choose from; `rotate` "each": another with each request, "host": one for each host while it lives."""

    def __init__(self, proxies: Iterable[Proxy], rotate: Literal["each", "host"] = "each") -> None:
        self._members = {proxy: _Member(proxy) for proxy in proxies}
        if not self._members:
            raise ValueError("a pool needs a proxy")
        self._sticky = rotate == "host"
        self._ring = list(self._members.values())
        self._next = 0
        self._orders: dict[str, Sequence[_Member]] = {}

    def __repr__(self) -> str:
        return f"<ProxyPool {len(self._ring)} proxies, {sum(bool(member.outs) for member in self._ring)} put out>"

    def choose(self, host: str, now: float) -> Proxy:
        """The proxy for a request to `host`; where all are out, the one that comes back first."""
        member = self._of_host(host, now) if self._sticky else self._in_turn(now)
        if member is None:
            return min(self._ring, key=lambda out: out.until).proxy
        if member.outs:  # others wait for the end of this request, but not for ever
            member.probed = True
            member.until = now + FIRST
        return member.proxy

    def failed(self, proxy: Proxy, now: float) -> None:
        """The proxy did not do its part."""
        member = self._members[proxy]
        if member.outs:
            if member.probed:
                member.put_out(now)
            return  # else a request that was under way when it was put out: nothing new
        member.failures += 1
        if member.failures >= FAILURES:
            member.put_out(now)

    def worked(self, proxy: Proxy, now: float) -> None:
        """An answer came through the proxy."""
        self._members[proxy].worked()

    def _in_turn(self, now: float) -> _Member | None:
        for step in range(len(self._ring)):
            place = (self._next + step) % len(self._ring)
            if now >= self._ring[place].until:
                self._next = (place + 1) % len(self._ring)
                return self._ring[place]
        return None

    def _of_host(self, host: str, now: float) -> _Member | None:
        order = self._orders.get(host)
        if order is None:
            if len(self._orders) >= _REMEMBERED:
                self._orders.clear()
            order = self._orders[host] = self._ranked(host)
        return next((member for member in order if now >= member.until), None)

    def _ranked(self, host: str) -> Sequence[_Member]:
        """All members in this host's own order: the load spreads, and what one loses spreads over all others."""
        name = host.encode()
        return sorted(self._ring, key=lambda member: blake2b(str(member.proxy).encode(), key=name[:64]).digest())
