"""Bytes per second, on a loop whose clock jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from selectors import DefaultSelector, SelectorKey

import pytest

from crawler.bandwidth import Bandwidth
from crawler.model import Request

MB = 1_000_000


class _Jumping(DefaultSelector):
    """Never waits: what it was to wait for is added to the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self.now += timeout + 1e-6
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    """Time passes only where all wait."""

    def __init__(self) -> None:
        self.clock = _Jumping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long it took on the loop's clock."""
    loop = _Loop()
    try:
        loop.run_until_complete(_awaited(work))
        return loop.time()
    finally:
        loop.close()


async def _awaited(work: Callable[[], Awaitable[object]]) -> None:
    await work()


def request(host: str = "a.example", path: str = "/") -> Request:
    return Request(1, f"http://{host}{path}", host.partition(":")[0])


async def transfer(caps: Bandwidth, of: Request, pieces: Iterable[int]) -> float:
    """Spend piece after piece; the moment of the end."""
    for size in pieces:
        await caps.spend(of, size)
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("rate", "piece", "pieces"),
    [
        (1.0, 1, 30),
        (1.0, 1000, 3),
        (999.0, 1, 3000),
        (999.0, 1500, 20),
        (64_000.0, 65_536, 3),
        (20.0 * MB, 65_536, 900),
    ],
)
def test_bytes_take_as_long_as_the_rate_says(rate: float, piece: int, pieces: int) -> None:
    """n bytes take n/rate seconds within 10 %, in pieces of any size; at most a tenth of a second's worth goes free."""
    caps = Bandwidth(rate, lambda _: None)
    took = seconds(lambda: transfer(caps, request(), [piece] * pieces))
    least = piece * pieces / rate
    assert least - max(0.1, 1 / rate) - 1e-6 <= took <= least * 1.1


def test_no_limit_takes_no_time() -> None:
    """Neither for the job nor for the host."""
    caps = Bandwidth(None, lambda _: None)
    assert seconds(lambda: transfer(caps, request(), [100 * MB] * 10)) == 0.0


def test_the_job_shares_one_cap() -> None:
    """Ten transfers from ten hosts take ten times as long as one."""
    caps = Bandwidth(1.0 * MB, lambda _: None)

    async def all_of_them() -> None:
        await asyncio.gather(*(transfer(caps, request(f"h{n}.example"), [65_536] * 10) for n in range(10)))

    assert seconds(all_of_them) == pytest.approx(6.5536, rel=0.1)


def test_each_host_has_a_cap_of_its_own() -> None:
    """Two hosts at once take as long as one; a host that is not limited takes no time; paths share."""
    caps = Bandwidth(None, lambda netloc: None if netloc == "free.example" else 1.0 * MB)
    ends: dict[str, float] = {}

    async def one(host: str, path: str) -> None:
        ends[host + path] = await transfer(caps, request(host, path), [65_536] * 20)

    async def all_of_them() -> None:
        await asyncio.gather(
            one("a.example", "/1"), one("a.example", "/2"), one("b.example", "/"), one("free.example", "/")
        )

    seconds(all_of_them)
    assert ends["b.example/"] == pytest.approx(1.31, rel=0.1)
    assert max(ends["a.example/1"], ends["a.example/2"]) == pytest.approx(2.62, rel=0.1)
    assert ends["free.example/"] == 0.0


def test_a_port_may_have_another_cap() -> None:
    """The rate is told by host and port, and each holds, though both share a pace."""
    caps = Bandwidth(None, lambda netloc: 1.0 * MB if netloc.endswith(":8080") else 10.0 * MB)

    async def both() -> None:
        slow, quick = await asyncio.gather(
            transfer(caps, request("a.example:8080"), [MB] * 3), transfer(caps, request("a.example"), [MB] * 3)
        )
        assert slow == pytest.approx(3.0, rel=0.1)
        assert quick == pytest.approx(0.3, rel=0.4)

    seconds(both)


@pytest.mark.parametrize(("job", "host"), [(1.0, 5.0), (5.0, 1.0)])
def test_the_tighter_of_both_caps_counts(job: float, host: float) -> None:
    """A host's own and that of the job hold together."""
    caps = Bandwidth(job * MB, lambda _: host * MB)
    assert seconds(lambda: transfer(caps, request(), [65_536] * 40)) == pytest.approx(2.62, rel=0.1)


def test_a_large_answer_is_not_starved_by_small_ones() -> None:
    """While small ones keep the cap busy, each gets its turn."""
    caps = Bandwidth(0.1 * MB, lambda _: None)

    async def all_of_them() -> None:
        small = [transfer(caps, request(), [500] * 60) for _ in range(20)]  # for six seconds
        *_, large = await asyncio.gather(*small, transfer(caps, request(), [65_536]))
        assert large < 3.0  # twenty times 500 bytes between every two of its seven parts

    assert seconds(all_of_them) == pytest.approx(6.66, rel=0.1)


def test_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    """Its turn goes to the next."""
    caps = Bandwidth(0.1 * MB, lambda _: None)

    async def all_of_them() -> None:
        gone = [asyncio.ensure_future(transfer(caps, request(), [100_000])) for _ in range(5)]
        kept = asyncio.ensure_future(transfer(caps, request(), [10_000]))
        await asyncio.sleep(0.15)
        for one in gone:
            one.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert await kept < 0.5

    seconds(all_of_them)


def test_another_cap_of_the_job_holds_for_the_next_piece() -> None:
    """One that would take hours is lifted, and one can be set where there was none."""
    caps = Bandwidth(1.0, lambda _: None)
    caps.change(None)
    assert seconds(lambda: transfer(caps, request(), [MB])) == 0.0
    caps.change(0.1 * MB)
    assert seconds(lambda: transfer(caps, request(), [MB])) == pytest.approx(9.9, rel=0.1)
