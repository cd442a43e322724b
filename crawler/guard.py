"""Where an attempt may connect to: name lookups, pins, and the guard before addresses that are not public.

Does: ask Names, time the lookups that really happen, leave out what the attempt may not reach, and look at each socket
address once more before a packet leaves; addresses that stand in URLs are seen there alone. Must not know HTTP, the
pool, or why an attempt is trusted. Invariant: no socket is made for an address that is not public, unless the attempt
may go anywhere or the job pinned the name it asks for; where a proxy will make it, the host is judged before.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING

from crawler.addresses import guarded, loopback, parse_pins
from crawler.model import Timing, milliseconds
from crawler.resolver import Address, Lookup, Names, system_lookup
from crawler.watch import Phase, Transfer

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

# Seconds; what took less came from a memory (a known name, a pooled connection).
REAL_WAIT = 0.0002
# Lookups at once: each holds a thread, and threads are cheap only up to a point.
_MIN_LOOKUPS, _MAX_LOOKUPS = 64, 512
# A host whose last label is a number stands for an IPv4 address, or for nothing (WHATWG URL, "ends in a number").
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$")


class Attempt:
    """The request that is connected for; `anywhere`: also to an address that is not public; `then`: the phase that
    follows; `fresh`: not by a connection of the pool.
    """

    __slots__ = ("anywhere", "fresh", "then", "timing", "transfer")

    def __init__(self, transfer: Transfer, timing: Timing, anywhere: bool, then: Phase = Phase.ANSWER) -> None:
        self.transfer = transfer
        self.timing = timing
        self.anywhere = anywhere
        self.then = then
        self.fresh = False


# Tasks that are started to connect copy the context, so they see their attempt as well.
current: ContextVar[Attempt] = ContextVar("attempt")


class Blocked(OSError):
    """The address may not be connected to, and nothing was sent; the text is a sentence."""

    def __init__(self, address: str, kind: str) -> None:
        what = kind if kind.startswith("not ") else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} address"
        super().__init__(f"{address} is {what}; the job's own input does not name this host (connection.allow_private)")


class Guard:
    """The way from a host to a socket, for the `current` attempt.

    For a pool of so many connections; a name is remembered for `ttl` seconds; `pins` as `addresses.parse_pins` reads
    them (ValueError); `lookup` stands in for the system's.
    """

    def __init__(self, connections: int, ttl: float, pins: Mapping[str, str], lookup: Lookup | None = None) -> None:
        at_once = min(_MAX_LOOKUPS, max(_MIN_LOOKUPS, connections))
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="names")
        self._names = Names(lookup or system_lookup(self._threads), ttl=ttl, pins=pins, at_once=at_once)
        self._pinned = parse_pins(pins).keys()

    async def close(self) -> None:
        """Give up the lookups under way, without waiting for their threads."""
        await self._names.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def first(self, host: str) -> str | None:
        """The first address of a canonical host, whoever asks; None where it has none, or nobody says."""
        if host.startswith("["):
            return host[1:-1]
        try:
            return (await self._names.resolve(host, 0))[0].host
        except OSError:
            return None

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Address]:
        """Where the attempt may find a host, in order of preference. Raises OSError: Blocked, or the lookup's."""
        attempt = current.get()
        found = of_family(host, await self._looked_up(host, port), family)
        if self._is_pinned(host, port):
            attempt.anywhere = True  # the job itself says where this connection goes
        if attempt.anywhere:
            return found
        public = [address for address in found if guarded(address.host) is None]
        if not public:
            raise Blocked(found[0].host, guarded(found[0].host) or "")
        return public

    async def beyond(self, host: str, port: int) -> None:
        """Before a proxy connects for the attempt: raises Blocked where the host is, or has, an inner address.

        One such address is enough, since it is the proxy that chooses; a name that nobody knows here passes.
        """
        if current.get().anywhere or self._is_pinned(host, port):
            return
        if _NUMERIC.search(host):  # what is no address here is one to some proxies (0x7f.1)
            found = [host]
        elif loopback(host):
            raise Blocked(host, "loopback")
        else:
            try:
                found = [address.host for address in await self._looked_up(host, port)]
            except OSError:
                return
        for address in found:
            if why := guarded(address):
                raise Blocked(address, why)

    async def _looked_up(self, host: str, port: int) -> list[Address]:
        """By the names, and timed where that took a lookup."""
        if (found := literal(host, port)) is not None:
            return [found]
        names = self._names
        before, started = names.lookups, monotonic()
        try:
            return await names.resolve(host, port)
        finally:
            seconds = monotonic() - started
            if names.lookups != before or seconds > REAL_WAIT:  # else it was known
                current.get().timing.dns = milliseconds(seconds)

    def _is_pinned(self, host: str, port: int) -> bool:
        name = host.rstrip(".")
        return name in self._pinned or f"{name}:{port}" in self._pinned


def literal(host: str, port: int) -> Address | None:
    text = host.strip("[]")
    try:
        version = ip_address(text).version
    except ValueError:
        return None
    return Address(text, port, socket.AF_INET6 if version == 6 else socket.AF_INET)


def of_family(host: str, found: list[Address], family: int) -> list[Address]:
    """Those of one family, or of any (AF_UNSPEC). Raises socket.gaierror where there is none."""
    if family == socket.AF_UNSPEC:
        return found
    kept = [address for address in found if address.family == family]
    if not kept:
        version = 6 if family == socket.AF_INET6 else 4
        raise socket.gaierror(socket.EAI_NONAME, f"{host} has no IPv{version} address (connection.family)")
    return kept


def guarded_socket(to: AddrInfoType) -> socket.socket:
    """A socket to connect to exactly this address. Raises Blocked where the `current` attempt may not."""
    family, kind, protocol, _, address = to
    if not current.get().anywhere and (why := guarded(str(address[0]))):
        raise Blocked(str(address[0]), why)
    return socket.socket(family, kind, protocol)
