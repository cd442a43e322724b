"""The rate of the whole job."""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic

import pytest

from crawler.bound import at_once
from crawler.jobrate import JobRate


async def test_without_a_rate_nothing_is_to_be_paid() -> None:
    """And whoever pays all the same does not wait."""
    rate = JobRate(None)
    assert rate.free
    assert await rate.pay()


async def test_each_payment_takes_its_time() -> None:
    """Twenty at 100/s take an interval each, but for those that may go at once."""
    rate, started = JobRate(100.0), monotonic()
    assert not rate.free
    assert [await rate.pay() for _ in range(20)] == [True] * 20
    assert monotonic() - started >= (19 - at_once(100.0)) / 100


async def test_a_stop_is_heard_at_once_however_slow_the_rate() -> None:
    """Whoever waits is told that it must not go, and is not cancelled."""
    rate = JobRate(1 / 3600)
    assert await rate.pay()
    waiting = asyncio.create_task(rate.pay())
    await asyncio.sleep(0)
    rate.stop()
    async with asyncio.timeout(20):
        assert await waiting is False


async def test_a_cancelled_payer_is_cancelled() -> None:
    """Only a stop is an answer."""
    rate = JobRate(1 / 3600)
    await rate.pay()
    waiting = asyncio.create_task(rate.pay())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_payer_is_cancelled_though_the_limiter_loses_that() -> None:
    """As wait_for of Python 3.11 does where the token comes in the same turn of the loop: a run would never end."""
    rate = JobRate(1.0)

    async def acquire() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)

    assert rate._limiter is not None
    rate._limiter.acquire = acquire  # type: ignore[method-assign,assignment]
    waiting = asyncio.create_task(rate.pay())
    for _ in range(3):  # until it waits
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_another_rate_is_heard_by_whoever_waits() -> None:
    """Who pays at one an hour is told to pay anew, and does so at the new rate; without a rate nothing is paid."""
    rate = JobRate(1 / 3600)
    assert await rate.pay()
    waiting = asyncio.create_task(rate.pay())
    await asyncio.sleep(0)
    assert rate.paying
    rate.change(100.0)
    async with asyncio.timeout(20):
        assert await waiting is False
        started = monotonic()
        assert [await rate.pay() for _ in range(20)] == [True] * 20
    assert monotonic() - started >= (19 - at_once(100.0)) / 100
    assert rate.rate == 100.0
    rate.change(None)
    assert rate.free
    assert not rate.paying
