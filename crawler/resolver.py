"""Name lookups: pinned, remembered, shared by all who wait for the same host, and few at once.

Does: turn a host into addresses by a `Lookup` (the system's, or a test's). Must not know HTTP, jobs, or which address
is allowed. Invariant: one host has at most one lookup under way, however many wait for it; at most `at_once` lookups
run; a waiter that is cancelled takes nothing from the others; every failure leaves as OSError.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from crawler.addresses import parse_pins
from crawler.filelimit import out_of_files

# A server that failed is asked again soon; a name that does not exist will hardly appear within the minute.
_FAILED_TTL = 5.0
# How many times its ttl an answer may serve while the name servers do not answer (RFC 8767 4).
_STALE = 10
# EAI_NODATA is a glibc extension (a name without addresses).
_ABSENT = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
# On some systems the constant has bits that getaddrinfo refuses.
_FLAGS = socket.AI_ADDRCONFIG & getattr(socket, "AI_MASK", -1)


class Address(NamedTuple):
    """Where to connect to: numeric text (IPv6 may end in %zone), port, AF_INET or AF_INET6."""

    host: str
    port: int
    family: int


# Addresses of a host in order of preference, their port of no meaning. Raises OSError, in particular socket.gaierror.
Lookup = Callable[[str], Awaitable[Sequence[Address]]]


class _Known(NamedTuple):
    """What the last lookup of a host said, at `born`; it is the answer before `until`."""

    found: tuple[Address, ...]
    error: OSError | None
    born: float
    until: float


class _Flight:
    """A lookup under way, or waiting for its slot."""

    __slots__ = ("started", "task", "waiters")

    def __init__(self) -> None:
        self.task: asyncio.Task[_Known] | None = None
        self.waiters = 0
        self.started = False


class Names:
    """Answers of a `Lookup`, each kept `ttl` seconds (0: not at all), an absent name's `negative_ttl` seconds.

    Other failures are kept five seconds, if `negative_ttl` is not shorter still. `pins` as `parse_pins` reads them
    (ValueError); of `limit` hosts the least recently used is forgotten; `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        ttl: float,
        negative_ttl: float = 60.0,
        pins: Mapping[str, str] | None = None,
        at_once: int = 64,
        limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = lookup
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._pins = parse_pins(pins or {})
        self._slots = asyncio.Semaphore(at_once)
        self._limit = limit
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self.lookups = 0  # begun
        self.last_seconds = 0.0  # of the lookup that ended last, without its wait for a slot

    def __repr__(self) -> str:
        return f"<Names known={len(self._known)} under_way={len(self._flights)} lookups={self.lookups}>"

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a canonical host in the order of the lookup, at `port` (or the pin's own).

        Returns without a pause unless a lookup is needed. Raises OSError, in particular socket.gaierror.
        """
        if pinned := self._pinned(host, port):
            return [pinned]
        known = self._fresh(host) or await self._joined(host)
        if known.error is not None:
            raise _anew(known.error)
        return [Address(found.host, port, found.family) for found in known.found]

    async def close(self) -> None:
        """Give up the lookups under way; their threads end when the system answers."""
        tasks = [flight.task for flight in self._flights.values() if flight.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._flights.clear()

    def _pinned(self, host: str, port: int) -> Address | None:
        if not self._pins:
            return None
        name = host.rstrip(".")
        pin = self._pins.get(f"{name}:{port}") or self._pins.get(name)
        if pin is None:
            return None
        family = socket.AF_INET6 if ":" in pin.host else socket.AF_INET
        return Address(pin.host, pin.port or port, family)

    def _fresh(self, host: str) -> _Known | None:
        known = self._known.get(host)
        if known is None or self._clock() >= known.until:
            return None
        self._known.move_to_end(host)
        return known

    async def _joined(self, host: str) -> _Known:
        """What the one lookup of `host` says, begun now if there is none under way."""
        flight = self._flights.get(host)
        if flight is None:
            flight = self._flights[host] = _Flight()
            flight.task = asyncio.create_task(self._flown(host, flight))
        assert flight.task is not None
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.started:  # nobody wants it any more: leave the slot to others
                flight.task.cancel()
                self._landed(host, flight)

    async def _flown(self, host: str, flight: _Flight) -> _Known:
        try:
            async with self._slots:
                flight.started = True
                return await self._asked(host)
        finally:
            self._landed(host, flight)

    def _landed(self, host: str, flight: _Flight) -> None:
        if self._flights.get(host) is flight:
            del self._flights[host]

    async def _asked(self, host: str) -> _Known:
        """One real lookup; its failure is a value, since it may have many readers or none."""
        self.lookups += 1
        started = self._clock()
        found: Sequence[Address] = ()
        error: OSError | None = None
        try:
            found = await self._lookup(host)
        except OSError as caught:
            error = _anew(caught)
        now = self._clock()
        self.last_seconds = now - started
        if error is None and not found:
            error = socket.gaierror(socket.EAI_NONAME, "the name has no address")
        known = self._judged(self._known.get(host), tuple(found), error, now)
        self._keep(host, known, now)
        return known

    def _judged(self, before: _Known | None, found: tuple[Address, ...], error: OSError | None, now: float) -> _Known:
        if error is None:
            return _Known(found, None, now, now + self._ttl)
        if out_of_files(error):
            return _Known((), error, now, now)  # it says nothing of the name
        if error.errno in _ABSENT and isinstance(error, socket.gaierror):
            return _Known((), error, now, now + self._negative_ttl)
        if _transient(error) and before and before.found and now - before.born < _STALE * self._ttl:
            return before._replace(until=now + min(_FAILED_TTL, self._ttl))
        return _Known((), error, now, now + min(_FAILED_TTL, self._negative_ttl))

    def _keep(self, host: str, known: _Known, now: float) -> None:
        self._known.pop(host, None)
        if known.until <= now:
            return
        self._known[host] = known
        while len(self._known) > self._limit:
            self._known.popitem(last=False)


def system_lookup(pool: ThreadPoolExecutor) -> Lookup:
    """getaddrinfo, in threads of its own: slow names must not take the event loop's default executor.

    `pool` should have as many threads as lookups may be under way; it starts them as they are needed, and to shut it
    down is the caller's.
    """

    async def lookup(host: str) -> Sequence[Address]:
        return await asyncio.get_running_loop().run_in_executor(pool, _getaddrinfo, host)

    return lookup


def _getaddrinfo(host: str) -> Sequence[Address]:
    try:
        infos = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=_FLAGS)
    except UnicodeError:  # Python's own check of the labels, before the system is asked
        raise socket.gaierror(socket.EAI_NONAME, "not a name that DNS can hold: a label is empty or too long") from None
    found = []
    for family, _, _, _, address in infos:
        if family == socket.AF_INET:
            found.append(Address(str(address[0]), 0, family))
        elif family == socket.AF_INET6 and len(address) == 4:
            zone = f"%{address[3]}" if address[3] else ""  # a link-local address is of no use without it
            found.append(Address(f"{address[0]}{zone}", 0, family))
    return list(dict.fromkeys(found))


def _transient(error: OSError) -> bool:
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN


def _anew(error: OSError) -> OSError:
    """The same failure without the traceback and the frames of the first."""
    return type(error)(*error.args)
