"""Name lookups with a scripted lookup and a clock that is set by hand."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crawler.resolver import Address, Names, system_lookup

ONE = [Address("192.0.2.1", 0, socket.AF_INET)]
TWO = [Address("192.0.2.2", 0, socket.AF_INET)]
MIXED = [
    Address("2001:db8::2", 0, socket.AF_INET6),
    Address("192.0.2.9", 0, socket.AF_INET),
    Address("2001:db8::1", 0, socket.AF_INET6),
]
AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
FAIL = socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution")
ABSENT = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class Script:
    """A lookup that notes who asks, and a clock. `says` answers at once, otherwise the test ends `asked[host]`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.says: dict[str, Sequence[Address] | Exception] = {}
        self.asked: dict[str, list[asyncio.Future[Sequence[Address]]]] = defaultdict(list)

    def __call__(self, host: str) -> Awaitable[Sequence[Address]]:
        future: asyncio.Future[Sequence[Address]] = asyncio.get_running_loop().create_future()
        self.asked[host].append(future)
        match self.says.get(host):
            case None:
                pass
            case Exception() as error:
                future.set_exception(error)
            case found:
                future.set_result(found)
        return future

    def clock(self) -> float:
        return self.now

    def names(self, *, ttl: float = 100.0, **more: Any) -> Names:
        return Names(self, ttl=ttl, clock=self.clock, **more)


async def turns(count: int = 10) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def waiting(names: Names, *hosts: str) -> AsyncIterator[list[asyncio.Task[list[Address]]]]:
    """One waiter a host, each as far as it gets; none is left over."""
    tasks = [asyncio.create_task(names.resolve(host, 80)) for host in hosts]
    await turns()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def failure(names: Names, host: str = "a.test") -> socket.gaierror:
    with pytest.raises(socket.gaierror) as caught:
        await names.resolve(host, 80)
    return caught.value


async def test_an_answer_has_the_port_asked_for_and_keeps_its_order() -> None:
    """The order is that of the lookup: to interleave the families is the connector's part."""
    script = Script()
    script.says["a.test"] = MIXED
    names = script.names()
    assert await names.resolve("a.test", 443) == [address._replace(port=443) for address in MIXED]
    assert await names.resolve("a.test", 80) == [address._replace(port=80) for address in MIXED]
    assert names.lookups == 1


async def test_an_answer_is_kept_for_its_ttl() -> None:
    """Just before the end it is still used, at the end it is looked up anew."""
    script = Script()
    script.says["a.test"] = ONE
    names = script.names(ttl=100)
    await names.resolve("a.test", 80)
    script.says["a.test"] = TWO
    script.now += 99.9
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.1"
    script.now += 0.1
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.2"
    assert names.lookups == 2


async def test_a_known_name_is_answered_without_a_pause() -> None:
    """No turn of the loop is given away for what is remembered."""
    script = Script()
    script.says["a.test"] = ONE
    names = script.names()
    await names.resolve("a.test", 80)
    with pytest.raises(StopIteration) as done:
        names.resolve("a.test", 81).send(None)
    assert done.value.value == [ONE[0]._replace(port=81)]


async def test_a_thousand_waiters_cause_one_lookup() -> None:
    """Whoever comes while a lookup is under way shares it."""
    script = Script()
    names = script.names()
    async with waiting(names, *["a.test"] * 1000) as tasks:
        assert len(script.asked["a.test"]) == 1
        script.asked["a.test"][0].set_result(ONE)
        assert {tuple(found) for found in await asyncio.gather(*tasks)} == {(ONE[0]._replace(port=80),)}
    assert names.lookups == 1


async def test_without_a_ttl_waiters_still_share() -> None:
    """ttl = 0 keeps nothing, but those who wait together get one answer."""
    script = Script()
    names = script.names(ttl=0)
    async with waiting(names, "a.test", "a.test") as tasks:
        script.asked["a.test"][0].set_result(ONE)
        await asyncio.gather(*tasks)
    assert names.lookups == 1
    assert "known=0" in repr(names)
    script.says["a.test"] = TWO
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.2"
    assert names.lookups == 2


async def test_a_failure_reaches_every_waiter_as_its_own() -> None:
    """Each gets an exception of its own, of the same kind and number."""
    script = Script()
    names = script.names()
    async with waiting(names, "a.test", "a.test") as tasks:
        script.asked["a.test"][0].set_exception(FAIL)
        first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, socket.gaierror)
    assert isinstance(second, socket.gaierror)
    assert first is not second
    assert first.args == second.args == FAIL.args
    assert first.errno == socket.EAI_FAIL


async def test_a_cancelled_waiter_leaves_the_lookup_to_the_others() -> None:
    """Even the one that began it."""
    script = Script()
    names = script.names()
    async with waiting(names, "a.test", "a.test") as (first, second):
        first.cancel()
        await turns()
        assert first.cancelled()
        script.asked["a.test"][0].set_result(ONE)
        assert (await second)[0].host == "192.0.2.1"
    assert names.lookups == 1


async def test_a_lookup_that_nobody_awaits_is_still_remembered() -> None:
    """A thread cannot be called back, so its answer is used by the next who asks."""
    script = Script()
    names = script.names()
    async with waiting(names, "a.test") as (task,):
        task.cancel()
        await turns()
        script.asked["a.test"][0].set_result(ONE)
        await turns()
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.1"
    assert names.lookups == 1


async def test_a_failure_that_nobody_awaits_is_silent() -> None:
    """No "exception was never retrieved" reaches the loop's handler."""
    script = Script()
    names = script.names()
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with waiting(names, "a.test") as (task,):
        task.cancel()
        await turns()
        script.asked["a.test"][0].set_exception(AGAIN)
        await turns()
    script.asked.clear()
    gc.collect()
    assert told == []
    assert (await failure(names)).errno == socket.EAI_AGAIN
    assert names.lookups == 1


async def test_only_so_many_lookups_at_once() -> None:
    """The others wait for a slot, in order; all get their answer."""
    script = Script()
    names = script.names(at_once=2)
    hosts = [f"{letter}.test" for letter in "abcde"]
    async with waiting(names, *hosts) as tasks:
        assert list(script.asked) == ["a.test", "b.test"]
        script.asked["a.test"][0].set_result(ONE)
        await turns()
        assert list(script.asked) == ["a.test", "b.test", "c.test"]
        for host in hosts[1:]:
            script.asked[host][0].set_result(TWO)
            await turns()
        assert len(await asyncio.gather(*tasks)) == 5
    assert "under_way=0" in repr(names)


async def test_a_lookup_without_a_slot_that_nobody_awaits_is_dropped() -> None:
    """Waiters that gave up in the queue leave no work behind for those that come after them."""
    script = Script()
    names = script.names(at_once=1)
    async with waiting(names, "slow.test", "gone.test", "kept.test") as (_, gone, kept):
        gone.cancel()
        await turns()
        script.asked["slow.test"][0].set_result(ONE)
        await turns()
        script.asked["kept.test"][0].set_result(ONE)
        await kept
    assert "gone.test" not in script.asked
    script.says["gone.test"] = TWO
    assert (await names.resolve("gone.test", 80))[0].host == "192.0.2.2"


async def test_who_asks_again_for_a_dropped_lookup_gets_a_new_one() -> None:
    """The dropped one, still ending, takes nothing from its successor."""
    script = Script()
    names = script.names(at_once=1)

    async def stubborn() -> list[Address]:
        try:
            return await names.resolve("a.test", 80)
        except asyncio.CancelledError:
            return await names.resolve("a.test", 80)

    async with waiting(names, "slow.test"):
        first = asyncio.create_task(stubborn())
        await turns()
        first.cancel()
        await turns()
        async with waiting(names, "a.test") as (second,):
            script.asked["slow.test"][0].set_result(ONE)
            await turns()
            script.asked["a.test"][0].set_result(ONE)
            assert await first == await second
    assert names.lookups == 2


@pytest.mark.parametrize(("error", "kept"), [(ABSENT, 60.0), (FAIL, 5.0), (AGAIN, 5.0)])
async def test_failures_are_remembered(error: socket.gaierror, kept: float) -> None:
    """An absent name for `negative_ttl`, other failures for five seconds, each time raised anew."""
    script = Script()
    script.says["a.test"] = error
    names = script.names()
    first = await failure(names)
    script.says["a.test"] = ONE
    script.now += kept - 0.1
    second = await failure(names)
    assert second is not first
    assert second.args == error.args
    assert names.lookups == 1
    script.now += 0.1
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.1"


async def test_a_negative_ttl_of_zero_remembers_no_failure() -> None:
    """Then every caller causes a lookup, whatever went wrong."""
    script = Script()
    names = script.names(negative_ttl=0)
    for error in (ABSENT, FAIL, AGAIN):
        script.says["a.test"] = error
        assert (await failure(names)).args == error.args
    assert names.lookups == 3


async def test_a_name_without_addresses_is_absent() -> None:
    """An empty answer is a failure with the number of an absent name, not an empty list."""
    script = Script()
    script.says["a.test"] = []
    assert (await failure(script.names())).errno == socket.EAI_NONAME


async def test_other_faults_of_the_system_keep_their_kind() -> None:
    """No descriptors left is an OSError with its number, and no proof of absence."""
    script = Script()
    script.says["a.test"] = OSError(errno.EMFILE, "Too many open files")
    names = script.names()
    with pytest.raises(OSError, match="Too many") as caught:
        await names.resolve("a.test", 80)
    assert caught.value.errno == errno.EMFILE
    script.now += 5
    script.says["a.test"] = ONE
    assert await names.resolve("a.test", 80)


async def test_an_old_answer_serves_while_the_servers_do_not() -> None:
    """Up to ten times its ttl (RFC 8767), asking again every five seconds; then the failure shows."""
    script = Script()
    script.says["a.test"] = ONE
    names = script.names(ttl=100)
    await names.resolve("a.test", 80)
    script.says["a.test"] = AGAIN
    script.now += 500
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.1"
    script.now += 4.5
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.1"
    assert names.lookups == 2
    script.now += 490.5
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.1"
    assert names.lookups == 3
    script.now += 5
    assert (await failure(names)).errno == socket.EAI_AGAIN


@pytest.mark.parametrize("error", [ABSENT, FAIL])
async def test_an_old_answer_does_not_outlive_a_certain_no(error: socket.gaierror) -> None:
    """Only a server that does not answer lets the past speak."""
    script = Script()
    script.says["a.test"] = ONE
    names = script.names(ttl=100)
    await names.resolve("a.test", 80)
    script.says["a.test"] = error
    script.now += 100
    assert (await failure(names)).args == error.args


async def test_the_memory_is_bounded() -> None:
    """Beyond the limit the host that was not asked for longest is forgotten."""
    script = Script()
    script.says = dict.fromkeys(("a.test", "b.test", "c.test"), ONE)
    names = script.names(limit=2)
    for host in ("a.test", "b.test", "a.test", "c.test", "a.test"):
        await names.resolve(host, 80)
    assert {host: len(asked) for host, asked in script.asked.items()} == {"a.test": 1, "b.test": 1, "c.test": 1}
    await names.resolve("b.test", 80)
    assert len(script.asked["b.test"]) == 2
    assert "known=2" in repr(names)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("a.test", 80, Address("127.0.0.1", 80, socket.AF_INET)),
        ("a.test.", 80, Address("127.0.0.1", 80, socket.AF_INET)),
        ("a.test", 443, Address("127.0.0.2", 8443, socket.AF_INET)),
        ("b.test", 80, Address("::1", 80, socket.AF_INET6)),
        ("c.test", 80, Address("::1", 8080, socket.AF_INET6)),
    ],
)
async def test_pins_are_answered_without_a_lookup(host: str, port: int, expected: Address) -> None:
    """host:port goes before host; the pin's port replaces the one asked for."""
    script = Script()
    pins = {"a.test": "127.0.0.1", "A.test:443": "127.0.0.2:8443", "b.test": "[::1]", "c.test:80": "[::1]:8080"}
    names = script.names(pins=pins)
    assert await names.resolve(host, port) == [expected]
    assert names.lookups == 0


async def test_a_pin_for_one_port_leaves_the_others() -> None:
    """What is not pinned is looked up."""
    script = Script()
    script.says["a.test"] = ONE
    names = script.names(pins={"a.test:443": "127.0.0.1"})
    assert (await names.resolve("a.test", 80))[0].host == "192.0.2.1"


async def test_the_time_of_a_lookup_is_told() -> None:
    """The seconds of the last real lookup, by the given clock."""
    script = Script()
    names = script.names()
    async with waiting(names, "a.test") as (task,):
        script.now += 1.5
        script.asked["a.test"][0].set_result(ONE)
        await task
    assert names.last_seconds == 1.5


async def test_a_closed_resolver_leaves_no_task() -> None:
    """Lookups under way and waiting are given up, and so are their waiters."""
    script = Script()
    names = script.names(at_once=1)
    async with waiting(names, "a.test", "b.test") as tasks:
        await names.close()
        assert [type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)] == [
            asyncio.CancelledError,
            asyncio.CancelledError,
        ]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_system_knows_the_loopback() -> None:
    """getaddrinfo in the pool: numeric addresses of the right family, none twice."""
    with ThreadPoolExecutor(2) as pool:
        found = await Names(system_lookup(pool), ttl=1).resolve("localhost", 81)
    assert {address.host for address in found} <= {"127.0.0.1", "::1"}
    assert len(set(found)) == len(found) > 0
    assert {(address.port, address.family) for address in found} <= {(81, socket.AF_INET), (81, socket.AF_INET6)}


async def test_threads_start_as_they_are_needed() -> None:
    """A large pool costs nothing until names are slow."""
    with ThreadPoolExecutor(64, thread_name_prefix="few") as pool:
        lookup = system_lookup(pool)
        for _ in range(5):
            await lookup("127.0.0.1")
        assert 1 <= len([thread for thread in threading.enumerate() if thread.name.startswith("few")]) <= 2


async def test_the_zone_of_a_link_local_address_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its zone such an address cannot be connected to; families we cannot use are left out."""
    infos = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, 3)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (10, b"")),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **named: infos)
    with ThreadPoolExecutor(1) as pool:
        found = await system_lookup(pool)("a.test")
    assert [address.host for address in found] == ["fe80::1%3", "2001:db8::1", "192.0.2.1"]


async def test_a_name_that_dns_cannot_hold_is_absent() -> None:
    """A label of 64 letters is refused before anything is asked, as a name that does not exist."""
    with ThreadPoolExecutor(1) as pool, pytest.raises(socket.gaierror) as caught:
        await system_lookup(pool)("a" * 64 + ".test")
    assert caught.value.errno == socket.EAI_NONAME
