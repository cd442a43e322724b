"""How a body flows in: what is told to the watch of each piece, and of the waits that are our own.

Does: report to a transfer, wait for our own bandwidth and disk. Must not know what the bytes are, or aiohttp.
Invariant: time that we take ourselves never counts as the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from crawler.model import Request
from crawler.watch import Phase, Transfer

# Awaited with the size of each piece of a body in bytes, until so much may have come for this request.
Throttle = Callable[[Request, int], Awaitable[None]]

T = TypeVar("T")


def stopped_by_watch(transfer: Transfer) -> bool:
    """Whether this task, just cancelled, was so by the watch alone; then it goes on as if it had not been."""
    if transfer.overdue is None:
        return False
    task = asyncio.current_task()
    assert task is not None
    if task.uncancel() > 0:  # somebody else wants this task to end as well
        transfer.overdue = None  # asked again on the way out, the answer is the same
        return False
    return True


async def pause(own_work: Awaitable[T], transfer: Transfer) -> T:
    """Wait for our own disk or limits, which is no fault of the server's."""
    transfer.enter(Phase.STORE, monotonic())
    result = await own_work
    transfer.enter(Phase.BODY, monotonic())
    return result


async def arrived(request: Request, size: int, transfer: Transfer, throttle: Throttle | None) -> None:
    """A piece of so many bytes came."""
    transfer.received(size, monotonic())
    if throttle is not None:
        await pause(throttle(request, size), transfer)
