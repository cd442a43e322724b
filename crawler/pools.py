"""One pool of connections for each route, opened with its first use and closed when it is long unused.

Decides which pool a route has, and which must go. Must not know what is sent. Invariant: two routes never share a
connection; the pool of direct connections is always open, of the others at most `most` while they are idle; one that
is in use is never closed before the end.
"""

from __future__ import annotations

from collections import OrderedDict

import aiohttp
from multidict import CIMultiDict

from crawler.connector import Connector
from crawler.guard import Guard
from crawler.routes import DIRECT, Route
from crawler.wire import Wire


class Pool:
    """The connections of one route, and the wire over them."""

    __slots__ = ("connector", "users", "wire")

    def __init__(self, connector: Connector, wire: Wire) -> None:
        self.connector = connector
        self.wire = wire
        self.users = 0  # who send at this moment

    @property
    def busy(self) -> bool:
        """Is anybody sending, or reading an answer."""
        return bool(self.users) or self.connector.busy


class Pools:
    """All pools of a session; must be made in a running loop."""

    def __init__(
        self,
        guard: Guard,
        connections: int,
        keepalive: float,
        headers: CIMultiDict[str],
        most: int = 256,
        idle: int = 1 << 30,
    ) -> None:
        self._idle = idle
        self._guard = guard
        self._connections = connections
        self._keepalive = keepalive
        self._headers = headers
        self._most = most
        self._pools: OrderedDict[Route, Pool] = OrderedDict()  # the least recently used first
        connector = Connector(DIRECT, guard, connections, keepalive, self._make_room)
        # Requests of aiohttp want to know a session; they ask nothing of it.
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self.direct = Pool(connector, Wire(connector, self._session, headers, DIRECT))

    def __repr__(self) -> str:
        return (
            f"<Pools {len(self._pools)} beside the direct one, {sum(pool.busy for pool in self._pools.values())} busy>"
        )

    def __len__(self) -> int:
        return len(self._pools) + 1

    async def opened(self, route: Route) -> Pool:
        """The pool of a route; it stays open as long as it has users, or is busy."""
        pool = self.direct if route == DIRECT else self._known(route)
        pool.users += 1
        try:
            await self._shrink()
        finally:
            pool.users -= 1
        return pool

    async def close(self) -> None:
        """Close all connections."""
        pools = [*self._pools.values()]
        self._pools.clear()
        for pool in pools:
            await pool.connector.close()
        await self._session.close()

    def _known(self, route: Route) -> Pool:
        pool = self._pools.get(route)
        if pool is None:
            connector = Connector(route, self._guard, self._connections, self._keepalive, self._make_room)
            pool = self._pools[route] = Pool(connector, Wire(connector, self._session, self._headers, route))
        self._pools.move_to_end(route)
        return pool

    def _make_room(self) -> None:
        """A connection is about to be opened: where too many are idle, those go that are longest unused."""
        connectors = [self.direct.connector, *(pool.connector for pool in self._pools.values())]
        if sum(connector.idle for connector in connectors) < max(1, self._idle):
            return
        unused = [(since, n, close) for n, connector in enumerate(connectors) for since, close in connector.unused()]
        unused.sort(key=lambda one: one[0])
        for _, _, close in unused[: len(unused) - self._idle // 2]:
            close()

    async def _shrink(self) -> None:
        while len(self._pools) > self._most:
            idle = next((route for route, pool in self._pools.items() if not pool.busy), None)
            if idle is None:
                return
            await self._pools.pop(idle).connector.close()
