"""Pools by route: never shared, opened when used, closed when long unused and idle."""

from __future__ import annotations

import asyncio
import gc
import warnings

from multidict import CIMultiDict

from crawler.guard import Guard
from crawler.pools import Pools
from crawler.routes import DIRECT, Proxy, Route, Tls
from crawler.session import Session
from tests.peers import LOOPBACK, OK, SETTINGS, Peer, answer, fetch, peer, whole


def route(number: int) -> Route:
    return Route(local_address=f"127.0.1.{number}")


async def test_equal_routes_share_their_connections() -> None:
    """By value; the direct way is the same however it is said."""
    async with peer() as server, Session(SETTINGS) as session:
        for way in (DIRECT, Route(), Route(tls=Tls()), route(1), Route(local_address="127.0.1.1")):
            assert await fetch(session, server.url, way) == b"ok"
    assert server.accepted == 2


async def test_other_routes_never_do() -> None:
    """Whatever they differ in: proxy, its credentials, TLS, address, family."""
    async with peer() as server, Session(SETTINGS) as session:
        ways = [
            DIRECT,
            Route(Proxy("http", LOOPBACK, server.port)),
            Route(Proxy("http", LOOPBACK, server.port, "u", "p")),
            Route(Proxy("http", LOOPBACK, server.port, "u", "q")),
            Route(tls=Tls(verify=False)),
            Route(family="ipv4"),
            route(1),
        ]
        for way in ways * 2:
            assert await fetch(session, server.url, way) == b"ok"
    assert (server.accepted, len(server.heads)) == (len(ways), 2 * len(ways))


async def test_the_pool_that_is_longest_unused_goes() -> None:
    """Where there are too many; the direct one stays."""
    guard = Guard(4, 60, {})
    pools = Pools(guard, 4, 30, CIMultiDict(), most=2)
    kept = await pools.opened(route(1))
    for number in (2, 1, 3):
        await pools.opened(route(number))
    assert await pools.opened(route(1)) is kept
    assert len(pools) == 3
    await pools.opened(route(2))
    assert await pools.opened(route(1)) is kept
    assert await pools.opened(Route()) is pools.direct
    await pools.close()
    await guard.close()
    assert kept.connector.closed
    assert pools.direct.connector.closed


async def test_a_pool_in_use_stays() -> None:
    """As long as somebody sends, or an answer is not read to its end: then there are more for a while."""
    go_on = asyncio.Event()

    async def slow(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(OK[:-1])
        await go_on.wait()
        writer.write(OK[-1:])

    async with peer() as server, peer(slow) as halting, Session(SETTINGS) as session:
        pools = session._pools
        pools._most = 1
        unread = await answer(session, halting.url, route(1))
        using = await pools.opened(route(2))
        using.users += 1
        for number in (3, 4):
            assert await fetch(session, server.url, route(number)) == b"ok"
        assert len(pools) == 1 + 3
        using.users -= 1
        go_on.set()
        assert await whole(unread) == b"ok"
        assert await fetch(session, server.url, route(5)) == b"ok"
        assert len(pools) == 1 + 1


async def test_a_closed_pool_leaves_no_connection_open() -> None:
    """Its idle ones end with it, at once."""
    async with peer() as server, Session(SETTINGS) as session:
        session._pools._most = 1
        for number in range(1, 6):
            assert await fetch(session, server.url, route(number)) == b"ok"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gc.collect()
        assert len(session._pools) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}
